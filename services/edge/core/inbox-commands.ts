import { ChatError, errorCatalogue } from '#libs/domain/errors.ts'
import type { ClientFrame, RequestId } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { ChatChanged, InboxCommand, InboxEntry, UserDecision } from '#libs/domain/inbox.ts'
import type { Connection } from './connection.ts'
import { errorFrameOf } from './frames.ts'
import { type Numbered, setChatAck, unchangedChatAck } from './inbox-frames.ts'
import { type Asker, type Pending, PendingCommands } from './pending-commands.ts'
import type { EdgeClock } from './ports.ts'

export type InboxCommandsOptions = {
  readonly clock: EdgeClock
  readonly publish: (command: InboxCommand) => Promise<void>
  readonly newId: () => string
  /** Has answers about a user heard, until what it gives is called. @throws ChatError `history_unavailable` */
  readonly follow: (userId: UserId) => Promise<() => void>
  readonly limits: { readonly pendingPerSocketMax: number; readonly answerTimeoutMs: number }
}

type PendingChat = Pending & { readonly roomId: RoomId }

/** The answer to a command of this edge, as a decision gives it. */
export type Answer = {
  /** The ack of who has asked on this socket; it takes the place of the entry's frame there. */
  placeOf(entry: Numbered, connection: Connection): (() => string) | undefined
  /** Tells what was told in no place: to be called after all entries. */
  end(): void
}

/** What users ask of their own lists, on its way into the log and back: each request is answered exactly once. */
export class InboxCommands {
  readonly #options: InboxCommandsOptions
  readonly #pending = new PendingCommands<PendingChat>()

  constructor(options: InboxCommandsOptions) {
    this.#options = options
  }

  get pending(): number {
    return this.#pending.size
  }

  /** @throws ChatError `invalid_request`, `too_many_pending`, `history_unavailable` */
  async setChat(connection: Connection, { id, roomId, mutedUntilMs, archived }: ClientFrame & { readonly type: 'setChat' }): Promise<void> {
    const { limits, follow, newId, clock, publish } = this.#options
    if (mutedUntilMs === undefined && archived === undefined) throw new ChatError('invalid_request', 'mutedUntilMs or archived is needed')
    if (connection.pending >= limits.pendingPerSocketMax) throw new ChatError('too_many_pending', undefined, { retryAfterMs: 500 })
    const { userId } = connection.speaker
    const release = await follow(userId)
    const commandId = newId()
    this.#pending.add({ commandId, askers: connection.closed ? [] : [{ connection, requestId: id }], roomId, sentMs: clock.nowMs(), release })
    publish({ userId, commandId, type: 'setChat', roomId, ...(mutedUntilMs !== undefined && { mutedUntilMs }), ...(archived !== undefined && { archived }) }).catch((err: unknown) => {
      const command = this.#pending.take(commandId)
      if (command) this.#refuse(command, err)
    })
  }

  /** Undefined where nobody here waits for it any more. */
  answerOf({ commandId, entries }: UserDecision): Answer | undefined {
    const command = commandId === undefined ? undefined : this.#pending.take(commandId)
    if (!command) return undefined
    const changed = entries.findLast((entry): entry is ChatChanged => entry.type === 'chatChanged' && entry.chat.roomId === command.roomId)
    let placed = false
    return {
      placeOf: (entry, connection) => {
        const id = placed || entry !== changed ? undefined : requestIdOf(command.askers, connection)
        if (id === undefined) return undefined
        return () => {
          placed = true
          return JSON.stringify(setChatAck(id, changed!))
        }
      },
      end: () => {
        if (placed) return
        if (changed) this.#tell(command, (id) => setChatAck(id, changed))
        else if (!entries.some((entry) => this.#answer(command, entry))) this.#refuse(command, new ChatError('outcome_unknown'))
      },
    }
  }

  forget(connection: Connection): void {
    this.#pending.dropOf(connection)
  }

  expire(): void {
    const { clock, limits } = this.#options
    for (const command of this.#pending.takeOlderThan(clock.nowMs() - limits.answerTimeoutMs)) this.#refuse(command, new ChatError('outcome_unknown'))
  }

  /** False where the entry is no answer. */
  #answer(command: PendingChat, entry: InboxEntry): boolean {
    switch (entry.type) {
      case 'inboxUnchanged':
        this.#tell(command, (id) => unchangedChatAck(id, command.roomId, entry.userSeq))
        return true
      case 'inboxRefused':
        // A newer inbox may refuse for a reason that has no name here yet.
        this.#refuse(command, new ChatError(Object.hasOwn(errorCatalogue, entry.code) ? entry.code : 'not_allowed'))
        return true
      case 'inboxIgnored':
        // It could not be read: this edge and the inbox do not fit together.
        this.#refuse(command, new ChatError('undecodable'))
        return true
      default:
        return false
    }
  }

  #tell({ askers }: PendingChat, ack: (id: RequestId) => object): void {
    for (const { connection, requestId } of askers) if (requestId !== undefined) connection.send(ack(requestId))
  }

  #refuse({ askers, roomId }: PendingChat, err: unknown): void {
    for (const { connection, requestId } of askers) connection.send(errorFrameOf(requestId, err, { roomId }))
  }
}

const requestIdOf = (askers: readonly Asker[], connection: Connection): RequestId | undefined => askers.find((asker) => asker.connection === connection)?.requestId
