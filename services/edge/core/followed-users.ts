import { ChatError } from '#libs/domain/errors.ts'
import type { UserId } from '#libs/domain/ids.ts'
import type { UserDecision } from '#libs/domain/inbox.ts'
import { userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import { headerText } from '#libs/streams/reader-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { headerNames } from '#libs/streams/topics.ts'
import { FollowedLog, type FollowedLogDeps } from './followed-log.ts'
import type { InboxSubscription } from './inbox-subscription.ts'
import type { LogPosition } from './ports.ts'

export type UsersDeps = FollowedLogDeps & {
  readonly edgeId: string
  /** What concerns a user with synced sockets here, or (`isReply`) answers a command of this edge. */
  readonly onDecision: (decision: UserDecision, sockets: ReadonlySet<InboxSubscription>, isReply: boolean) => void
}

const NOBODY: ReadonlySet<InboxSubscription> = new Set()

/** One partition of user-events: feeds the synced sockets of its users in log order. */
export class FollowedUsers extends FollowedLog {
  /** Those alone who have a synced socket here: whoever leaves the last one takes the user out. */
  readonly users = new Map<UserId, Set<InboxSubscription>>()
  readonly #deps: UsersDeps

  constructor(partition: number, start: LogPosition, deps: UsersDeps) {
    super(partition, start, deps)
    this.#deps = deps
  }

  get isUsed(): boolean {
    return this.users.size > 0
  }

  *bufferedDecisions(userId: UserId): Generator<UserDecision> {
    for (const record of this.buffer.ofKey(userId)) {
      const decision = this.#decode(record)
      if (decision) yield decision
    }
  }

  protected take(record: InRecord): void {
    const sockets = this.users.get(record.key as UserId)
    const isReply = headerText(record.headers, headerNames.replyTo) === this.#deps.edgeId
    if (!sockets && !isReply) return
    const decision = this.#decode(record)
    if (decision) this.#deps.onDecision(decision, sockets ?? NOBODY, isReply)
  }

  #decode({ key, offset, value }: InRecord): UserDecision | undefined {
    const decision = value === null ? undefined : userDecisionFromAvro(this.#deps.codec.decode(value))
    // Whose sockets get it goes by the key: what is in it must be of nobody else.
    if (decision && decision.userId !== key) throw new ChatError('log_corrupt', `user-events[${this.partition}] offset ${offset} is not of the user who is its key`)
    return decision
  }
}
