import type { UserId } from '#libs/domain/ids.ts'
import type { ChatChanged, UserDecision } from '#libs/domain/inbox.ts'
import { BatchedTask, type BatchedTaskOptions } from '#libs/streams/batched-task.ts'
import type { PartitionTask } from '#libs/streams/partition-tasks.ts'
import { readByRule, type ReadOptions, type ReadPosition } from '#libs/streams/read-by-rule.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { collapsed, judge, type Notice, type Settlement, settlementsOf, type Silence } from './judge.ts'
import { type Due, type Known, type Taken, Window } from './window.ts'

export type NotificationStore = {
  /** Makes the partition's row if there is none: what it still holds from, epoch -1. */
  readPosition(partition: number): Promise<ReadPosition>
  /**
   * Settles, opens and raises notifications, adds the jobs that tell of it, and moves the position, in one transaction whose
   * first statement is the compare-and-set of the position. Undefined: another notifier has been there, nothing was written.
   * @throws ChatError `unavailable`: the outcome may be unknown, read the position again
   */
  apply(partition: number, before: ReadPosition, after: ReadPosition, changes: Changes): Promise<Applied | undefined>
}

export type Changes = { readonly settlements: readonly Settlement[]; readonly notices: readonly Notice[] }
export type Applied = { readonly told: number; readonly closed: number; readonly jobs: number }

export type FollowerOptions = Pick<ReadOptions<UserDecision>, 'codec' | 'decidedOf'> &
  Pick<BatchedTaskOptions, 'log' | 'sleep' | 'retryDelayMs' | 'batchRecordsMax'> & {
    readonly partition: number
    readonly store: NotificationStore
    /** Which of them have a device that is in use; nobody where that cannot be known. Never rejects. */
    readonly activeAmong: (userIds: readonly UserId[]) => Promise<ReadonlySet<UserId>>
    readonly nowMs: () => number
    readonly graceMs: number
    /** Messages that are older when they are judged are not told. */
    readonly staleMs: number
    /** Records that wait for their grace to be over; above, no more are read. */
    readonly windowMax: number
    readonly rememberedMax: number
    readonly observer: FollowerObserver
  }

export type FollowerObserver = {
  read(records: number): void
  silent(reason: Silence | 'active'): void
  applied(applied: Applied): void
  behind(err: unknown, delayMs: number): void
  moved(): void
}

/** A grace may take so much longer. */
const GATHER_MS = 500

type Event = { readonly userId: UserId; readonly event: ChatChanged }

/**
 * Follows one partition of user-events, a grace behind it. What closes a notification counts as soon as it is read; what opens
 * one when its grace is over. The position moves with what was written, so a crash doubles and loses nothing.
 */
export class Follower implements PartitionTask {
  readonly #options: FollowerOptions
  readonly #task: BatchedTask
  #window: Window
  /** Up to which everything is in Postgres, and up to which everything is in the window. */
  #applied: ReadPosition | undefined
  #read: ReadPosition | undefined
  #unsettled: Event[] = []

  constructor(options: FollowerOptions) {
    this.#options = options
    this.#window = new Window(options)
    this.#task = new BatchedTask({
      ...options,
      begin: () => this.#begin(),
      apply: (batch, signal) => this.#apply(batch, signal),
      idleMs: () => this.#idleMs(),
      onRetry: (err, delayMs) => options.observer.behind(err, delayMs),
    })
  }

  get position(): ReadPosition | undefined {
    return this.#applied
  }

  run(): Promise<void> {
    return this.#task.run()
  }

  stop(): Promise<void> {
    return this.#task.stop()
  }

  /** Not for each one as its grace ends: gathered, they cost one transaction. */
  #idleMs(): number | undefined {
    const waitMs = this.#window.waitMs(this.#options.nowMs())
    return waitMs && Math.max(waitMs, GATHER_MS)
  }

  async #begin(): Promise<bigint> {
    const { partition, store } = this.#options
    this.#window = new Window(this.#options)
    this.#unsettled = []
    this.#applied = await store.readPosition(partition)
    this.#read = this.#applied
    return this.#applied.nextOffset
  }

  async #apply(batch: readonly InRecord[], signal: AbortSignal): Promise<boolean> {
    const { nowMs, observer, sleep, windowMax, batchRecordsMax } = this.#options
    for (const record of batch) await this.#add(record)
    observer.read(batch.length)
    for (;;) {
      const now = nowMs()
      const taken = this.#window.take(now, batchRecordsMax, (what) => ({ ...what, known: what.due.map(({ userId, event }) => this.#window.known(userId, event.chat.roomId)) }))
      if (!(await this.#settle(taken, now))) return false
      const waitMs = this.#window.waitMs(nowMs())
      if (waitMs === undefined || (waitMs > 0 && this.#window.size <= windowMax)) return true
      await sleep(waitMs, signal).catch(() => {
        // Stopped: nothing more is written.
      })
      if (signal.aborted) return true
    }
  }

  async #add(record: InRecord): Promise<void> {
    // One at a time, since the position may come to stand behind each of them.
    const { after, read } = await readByRule(this.#options, this.#read!, [record])
    const decision = read[0]?.decided
    this.#window.add(after, decision, this.#options.nowMs())
    this.#read = after
    for (const event of decision?.entries ?? []) if (event.type === 'chatChanged') this.#unsettled.push({ userId: decision!.userId, event })
  }

  async #settle({ due, known, after }: Taken & { readonly known: readonly Known[] }, nowMs: number): Promise<boolean> {
    const { partition, store, observer } = this.#options
    const settlements = settlementsOf(this.#unsettled, nowMs)
    if (after === undefined && settlements.length === 0) {
      this.#unsettled = []
      return true
    }
    const notices = await this.#unheard(due, known, nowMs)
    const next = after ?? this.#applied!
    const applied = await store.apply(partition, this.#applied!, next, { settlements, notices })
    if (!applied) {
      observer.moved()
      return false
    }
    this.#applied = next
    this.#unsettled = []
    observer.applied(applied)
    return true
  }

  /** What is to be told to those who are away. */
  async #unheard(due: readonly Due[], known: readonly Known[], nowMs: number): Promise<readonly Notice[]> {
    const { activeAmong, staleMs, observer } = this.#options
    const notices: Notice[] = []
    for (const [i, one] of due.entries()) {
      const judged = judge(one, known[i]!, nowMs, staleMs)
      if ('silence' in judged) observer.silent(judged.silence)
      else notices.push(judged.notice)
    }
    if (notices.length === 0) return []
    const active = await activeAmong([...new Set(notices.map(({ userId }) => userId))])
    return collapsed(
      notices.filter(({ userId }) => {
        if (active.has(userId)) observer.silent('active')
        return !active.has(userId)
      }),
    )
  }
}
