import type { RequestId } from '#libs/domain/frames.ts'
import type { RoomId } from '#libs/domain/ids.ts'
import type { Connection } from './connection.ts'

/** A command that this edge has sent to the log and that nobody has answered yet. */
export type PendingCommand = {
  readonly commandId: string
  readonly connection: Connection
  /** Without one the client wants no ack: it gets the event like everybody else. */
  readonly requestId: RequestId | undefined
  readonly roomId: RoomId
  readonly clientMessageId: string
  readonly sentMs: number
}

/** Which answers in the log are awaited here. Every command ends: answered, timed out, or its socket closed. */
export class PendingCommands {
  /** In the order of sending. */
  readonly #byId = new Map<string, PendingCommand>()

  get size(): number {
    return this.#byId.size
  }

  add(command: PendingCommand): void {
    this.#byId.set(command.commandId, command)
    command.connection.pending++
  }

  /** Takes the command that an answer is for; undefined if it is not (any more) awaited here. */
  take(commandId: string): PendingCommand | undefined {
    const command = this.#byId.get(commandId)
    if (!command) return undefined
    this.#byId.delete(commandId)
    command.connection.pending--
    return command
  }

  /** Takes those sent before `sentMs`. */
  takeOlderThan(sentMs: number): PendingCommand[] {
    const old: PendingCommand[] = []
    for (const command of this.#byId.values()) {
      if (command.sentMs >= sentMs) break
      old.push(command)
    }
    for (const { commandId } of old) this.take(commandId)
    return old
  }

  dropOf(connection: Connection): void {
    if (connection.pending === 0) return
    for (const command of this.#byId.values()) if (command.connection === connection) this.take(command.commandId)
  }
}
