import { ChatError } from '#libs/domain/errors.ts'
import type { ClientFrame, RequestId } from '#libs/domain/frames.ts'
import type { UserId } from '#libs/domain/ids.ts'
import type { ChatChanged, InboxCommand, UserDecision } from '#libs/domain/inbox.ts'
import { partitionOf } from '#libs/streams/murmur2.ts'
import type { Connection } from './connection.ts'
import { FollowedUsers } from './followed-users.ts'
import { Following, fromHistory } from './following.ts'
import { InboxCommands } from './inbox-commands.ts'
import { inboxFrame, isNumbered } from './inbox-frames.ts'
import { InboxSubscription } from './inbox-subscription.ts'
import { bringUp, INBOX_READ_CHATS } from './inbox-sync.ts'
import type { EdgeClock, InboxChanges, InboxHistory, LogTail, RecordCodec } from './ports.ts'
import type { RoomsLimits } from './rooms.ts'

export type InboxLimits = Omit<RoomsLimits, 'replayPageEvents' | 'roomsPerSocketMax'> & {
  readonly pendingPerSocketMax: number
  /** Without an answer in the log after this, the outcome is unknown to the client. */
  readonly answerTimeoutMs: number
}

export type InboxOptions = {
  readonly edgeId: string
  readonly partitions: number
  readonly history: InboxHistory
  readonly log: LogTail
  readonly codec: RecordCodec
  readonly clock: EdgeClock
  /** Resolves when the command is durable in the log. @throws ChatError `unavailable`: it may be there all the same */
  readonly publish: (command: InboxCommand) => Promise<void>
  readonly newId: () => string
  readonly limits: InboxLimits
  readonly onCorrupt: (err: unknown) => void
  readonly onTrouble: (err: unknown) => void
  /** A change was handed on to sockets of this node. */
  readonly onDelivered?: (entry: ChatChanged, sockets: number) => void
}

/**
 * Users' own lists of chats, for the sockets that have asked for theirs: what has changed above a cursor, then each change
 * as it happens. A socket is only ever given what is of its own user. One that never asks costs nothing here.
 */
export class Inbox {
  readonly #options: InboxOptions
  readonly #following: Following<FollowedUsers>
  readonly #subscriptions = new Map<Connection, InboxSubscription>()
  readonly #commands: InboxCommands

  constructor(options: InboxOptions) {
    this.#options = options
    const { edgeId, history: persisted, log, codec, clock, limits, publish, newId, onCorrupt, onTrouble } = options
    this.#following = new Following({
      persisted,
      log,
      clock,
      lingerMs: limits.lingerMs,
      create: (partition, start) =>
        new FollowedUsers(partition, start, { edgeId, codec, clock, bufferLimits: limits.buffer, onCorrupt, onTrouble, onDecision: (...heard) => this.#onDecision(partition, ...heard) }),
    })
    this.#commands = new InboxCommands({ clock, limits, publish, newId, follow: (userId) => this.#following.hold(this.#partitionOf(userId)) })
  }

  get partitions(): ReadonlyMap<number, FollowedUsers> {
    return this.#following.partitions
  }

  /** Sockets that get their list. */
  get synced(): number {
    return this.#subscriptions.size
  }

  get pending(): number {
    return this.#commands.pending
  }

  /**
   * Everything that has changed above `cursor`, in pages, then `synced`, then live. The pages follow outside of the socket's
   * turn, at the pace of its drain. Synced already: starts over from there, and who still waits for `synced` gets it then.
   * @throws ChatError `not_allowed`, `history_unavailable`, `unavailable`, `invalid_request`
   */
  async sync(connection: Connection, cursor: number, requestId: RequestId | undefined): Promise<void> {
    checkOwner(connection)
    const partition = await this.#following.follow(this.#partitionOf(connection.speaker.userId))
    partition.admissions++
    try {
      const first = await this.#firstPage(partition, connection, cursor)
      // From here on nothing awaits.
      if (connection.closed) return
      const before = this.#leave(connection)
      const asked = [...(before?.asked ?? []), ...(requestId === undefined ? [] : [requestId])]
      const subscription = new InboxSubscription(connection, cursor, asked)
      this.#enter(partition, subscription)
      this.#bringUp(partition, subscription, first)
    } finally {
      partition.admissions--
    }
  }

  /** Sends off what a user wants of one of his chats; its ack comes through the log. @throws ChatError for what is refused here already */
  async setChat(connection: Connection, frame: ClientFrame & { readonly type: 'setChat' }): Promise<void> {
    checkOwner(connection)
    await this.#commands.setChat(connection, frame)
  }

  /** The last change that a live socket was handed, for its heartbeat. */
  headOf(connection: Connection): number | undefined {
    const subscription = this.#subscriptions.get(connection)
    return subscription?.mode === 'live' ? subscription.lastSeq : undefined
  }

  /** A socket has closed. What it has asked for is done all the same. */
  forget(connection: Connection): void {
    this.#leave(connection)
    this.#commands.forget(connection)
  }

  /** Tells those who have waited too long that the outcome is unknown. */
  expire(): void {
    this.#commands.expire()
  }

  prune(): Promise<void> {
    return this.#following.prune()
  }

  sweep(): void {
    this.#following.sweep()
  }

  #partitionOf(userId: UserId): number {
    return partitionOf(userId, this.#options.partitions)
  }

  /** A cursor above all that is known is refused only after the edge has read all that the log held when it was asked. */
  async #firstPage(partition: FollowedUsers, connection: Connection, cursor: number): Promise<InboxChanges> {
    const { log, limits } = this.#options
    const { userId } = connection.speaker
    const page = await this.#read(partition, connection, cursor)
    if (cursor <= lastKnown(partition, userId, page)) return page
    await partition.reach(await log.highWatermark(partition.partition), limits.joinWaitMs)
    const again = await this.#readWhole(partition, connection, cursor)
    const head = lastKnown(partition, userId, again)
    if (cursor > head) throw new ChatError('invalid_request', `the cursor is ${cursor}, but the last change is ${head}`)
    return again
  }

  /** Read again until the buffer begins at or below what was read: nothing can be hidden between the two. */
  async #readWhole(partition: FollowedUsers, connection: Connection, cursor: number): Promise<InboxChanges> {
    const { clock, limits } = this.#options
    const deadlineMs = clock.nowMs() + limits.joinWaitMs
    for (;;) {
      const page = await this.#read(partition, connection, cursor)
      if (partition.buffer.floor <= page.nextOffset || cursor <= lastKnown(partition, connection.speaker.userId, page)) return page
      if (clock.nowMs() >= deadlineMs) throw new ChatError('history_unavailable', 'Postgres is behind by more than this node can hold')
      await clock.sleep(50)
    }
  }

  #read({ partition }: FollowedUsers, { speaker, historyReads }: Connection, cursor: number): Promise<InboxChanges> {
    return fromHistory(historyReads.take(() => this.#options.history.changes(partition, speaker.userId, cursor, INBOX_READ_CHATS)))
  }

  #enter(partition: FollowedUsers, subscription: InboxSubscription): void {
    const { users } = partition
    const sockets = users.get(subscription.userId) ?? new Set()
    users.set(subscription.userId, sockets.add(subscription))
    this.#subscriptions.set(subscription.connection, subscription)
  }

  #leave(connection: Connection): InboxSubscription | undefined {
    const subscription = this.#subscriptions.get(connection)
    if (!subscription) return undefined
    subscription.mode = 'ended'
    this.#subscriptions.delete(connection)
    const partition = this.partitions.get(this.#partitionOf(subscription.userId))
    const sockets = partition?.users.get(subscription.userId)
    sockets?.delete(subscription)
    if (sockets?.size === 0) partition!.users.delete(subscription.userId)
    if (partition) partition.lastUsedMs = this.#options.clock.nowMs()
    return subscription
  }

  #bringUp(partition: FollowedUsers, subscription: InboxSubscription, first?: InboxChanges): void {
    const { history, clock, limits, log, onTrouble, onCorrupt } = this.#options
    const deps = { history, clock, limits, isStale: () => !log.isHealthy(), onTrouble }
    bringUp(deps, partition, subscription, first).catch(onCorrupt)
  }

  #onDecision(number: number, decision: UserDecision, sockets: ReadonlySet<InboxSubscription>, isReply: boolean): void {
    const partition = this.partitions.get(number)
    const answer = isReply ? this.#commands.answerOf(decision) : undefined
    for (const entry of decision.entries) {
      if (!isNumbered(entry)) continue
      // Encoded once for all of a user's sockets.
      let text: string | undefined
      const frame = () => (text ??= entry.type === 'chatChanged' ? JSON.stringify(inboxFrame(entry)) : '')
      for (const subscription of sockets) {
        if (subscription.mode !== 'live' || entry.userSeq <= subscription.lastSeq) continue
        const ack = answer?.placeOf(entry, subscription.connection)
        // What is of no type that is known here has no frame: what it has made of the list is read again.
        const isGiven = entry.type === 'chatChanged' && subscription.offer(entry.userSeq, ack ?? frame)
        if (!isGiven) this.#fallBehind(partition, subscription)
        this.#closeIfSlow(subscription.connection)
      }
      if (entry.type === 'chatChanged' && sockets.size > 0) this.#options.onDelivered?.(entry, sockets.size)
    }
    answer?.end()
  }

  #fallBehind(partition: FollowedUsers | undefined, subscription: InboxSubscription): void {
    subscription.mode = 'syncing'
    if (partition) this.#bringUp(partition, subscription)
  }

  #closeIfSlow(connection: Connection): void {
    if (connection.socket.bufferedBytes() > this.#options.limits.slowBufferBytes) connection.close('slow_consumer')
  }
}

/** Only who takes part has a list. */
function checkOwner({ speaker }: Connection): void {
  if (speaker.role !== 'user') throw new ChatError('not_allowed', 'who only reads or moderates has no list of chats')
}

/** The user's last change as far as it is known here: by the history, or by the tail. */
function lastKnown(partition: FollowedUsers, userId: UserId, { userSeq }: InboxChanges): number {
  let last = userSeq
  for (const { entries } of partition.bufferedDecisions(userId)) for (const entry of entries) if (isNumbered(entry) && entry.userSeq > last) last = entry.userSeq
  return last
}
