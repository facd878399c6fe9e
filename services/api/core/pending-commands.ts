import type { ChatError } from '#libs/domain/errors.ts'

/** A command that this process has sent to a log, and somebody who waits for what becomes of it. */
export type PendingCommand<Answer> = {
  readonly commandId: string
  readonly sentMs: number
  readonly resolve: (answer: Answer) => void
  readonly reject: (err: ChatError) => void
}

/** Which answers in a log are awaited here. Whoever takes a command settles it; nobody else can any more. */
export class PendingCommands<Answer> {
  /** In the order of sending. */
  readonly #byId = new Map<string, PendingCommand<Answer>>()

  get size(): number {
    return this.#byId.size
  }

  add(command: PendingCommand<Answer>): void {
    this.#byId.set(command.commandId, command)
  }

  /** Undefined if it is not (any more) awaited here. */
  take(commandId: string): PendingCommand<Answer> | undefined {
    const command = this.#byId.get(commandId)
    this.#byId.delete(commandId)
    return command
  }

  /** Takes those sent at or before this. */
  takeUntil(sentMs: number): readonly PendingCommand<Answer>[] {
    const old: PendingCommand<Answer>[] = []
    for (const command of this.#byId.values()) {
      if (command.sentMs > sentMs) break
      old.push(command)
    }
    for (const { commandId } of old) this.#byId.delete(commandId)
    return old
  }
}
