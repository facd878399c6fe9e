import type { RequestId } from '#libs/domain/frames.ts'
import type { ClientMessageId, MessageId, RoomId } from '#libs/domain/ids.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import type { Connection } from './connection.ts'

export type Asker = {
  readonly connection: Connection
  /** Without one the client wants no ack: it gets the event like everybody else. */
  readonly requestId: RequestId | undefined
}

/** A command that this edge has sent to a log and that nobody has answered yet. */
export type Pending = {
  readonly commandId: string
  /** One, but of marks that were made one command, and of those whose socket has closed since. */
  readonly askers: readonly Asker[]
  readonly sentMs: number
  /** Lets go of the partition that is followed for the answer. */
  readonly release: (() => void) | undefined
}

/** One about a room. */
export type PendingCommand = Pending & {
  readonly type: RoomCommand['type']
  readonly roomId: RoomId
  /** Where the request can be repeated. */
  readonly clientMessageId: ClientMessageId | undefined
  /** The message that it is about. */
  readonly messageId: MessageId | undefined
}

/** Which answers in the log are awaited here. Every command ends: answered, timed out, or its sockets closed. */
export class PendingCommands<C extends Pending = PendingCommand> {
  /** In the order of sending. */
  readonly #byId = new Map<string, C>()

  get size(): number {
    return this.#byId.size
  }

  add(command: C): void {
    this.#byId.set(command.commandId, command)
    for (const { connection } of command.askers) connection.pending++
  }

  /** Takes the command that an answer is for; undefined if it is not (any more) awaited here. */
  take(commandId: string): C | undefined {
    const command = this.#byId.get(commandId)
    if (!command) return undefined
    this.#byId.delete(commandId)
    for (const { connection } of command.askers) connection.pending--
    command.release?.()
    return command
  }

  /** Takes those sent before `sentMs`. */
  takeOlderThan(sentMs: number): C[] {
    const old: C[] = []
    for (const command of this.#byId.values()) {
      if (command.sentMs >= sentMs) break
      old.push(command)
    }
    for (const { commandId } of old) this.take(commandId)
    return old
  }

  /** Others who have asked for the same still get their answers. */
  dropOf(connection: Connection): void {
    if (connection.pending === 0) return
    for (const command of this.#byId.values()) {
      const others = command.askers.filter((asker) => asker.connection !== connection)
      if (others.length === command.askers.length) continue
      connection.pending -= command.askers.length - others.length
      const left = { ...command, askers: others }
      this.#byId.set(command.commandId, left)
      if (others.length === 0) this.take(command.commandId)
    }
  }
}
