import type { ChatError } from '#libs/domain/errors.ts'
import type { Decision } from '#libs/streams/avro-shapes.ts'

/** A command that this process has sent to the log, and somebody who waits for what becomes of it. */
export type PendingCommand = {
  readonly commandId: string
  readonly sentMs: number
  readonly resolve: (decision: Decision) => void
  readonly reject: (err: ChatError) => void
}

/** Which answers in the log are awaited here. Whoever takes a command settles it; nobody else can any more. */
export class PendingCommands {
  /** In the order of sending. */
  readonly #byId = new Map<string, PendingCommand>()

  get size(): number {
    return this.#byId.size
  }

  add(command: PendingCommand): void {
    this.#byId.set(command.commandId, command)
  }

  /** Undefined if it is not (any more) awaited here. */
  take(commandId: string): PendingCommand | undefined {
    const command = this.#byId.get(commandId)
    this.#byId.delete(commandId)
    return command
  }

  /** Takes those sent at or before this. */
  takeUntil(sentMs: number): readonly PendingCommand[] {
    const old: PendingCommand[] = []
    for (const command of this.#byId.values()) {
      if (command.sentMs > sentMs) break
      old.push(command)
    }
    for (const { commandId } of old) this.#byId.delete(commandId)
    return old
  }
}
