import { ChatError, hasCode } from '#libs/domain/errors.ts'
import type { FollowedLog } from './followed-log.ts'
import type { EdgeClock, LogPosition, LogTail, Persisted } from './ports.ts'

export type FollowingOptions<P extends FollowedLog> = {
  readonly persisted: Persisted
  readonly log: LogTail
  readonly clock: EdgeClock
  /** How long a partition that nobody uses is kept. */
  readonly lingerMs: number
  readonly create: (partition: number, start: LogPosition) => P
}

/** The partitions of one topic that somebody on this edge needs, each followed from where Postgres is. */
export class Following<P extends FollowedLog> {
  readonly #options: FollowingOptions<P>
  readonly #partitions = new Map<number, P>()
  readonly #starting = new Map<number, Promise<P>>()

  constructor(options: FollowingOptions<P>) {
    this.#options = options
  }

  get partitions(): ReadonlyMap<number, P> {
    return this.#partitions
  }

  /** @throws ChatError `history_unavailable` */
  async follow(number: number): Promise<P> {
    const followed = this.#partitions.get(number)
    if (followed) {
      followed.lastUsedMs = this.#options.clock.nowMs()
      return followed
    }
    const starting = this.#starting.get(number) ?? this.#start(number).finally(() => this.#starting.delete(number))
    this.#starting.set(number, starting)
    return starting
  }

  /** Follows it until the function that it gives is called, so that an answer there is heard. @throws ChatError `history_unavailable` */
  async hold(number: number): Promise<() => void> {
    const partition = await this.follow(number)
    partition.admissions++
    return () => {
      partition.admissions--
    }
  }

  /** Drops from the buffers what Postgres has. */
  async prune(): Promise<void> {
    if (this.#partitions.size === 0) return
    const next = await this.#options.persisted.nextOffsets()
    for (const [number, partition] of this.#partitions) {
      const nextOffset = next.get(number)
      if (nextOffset !== undefined) partition.prune(nextOffset)
    }
  }

  /** Lets go of partitions that nobody has used for a while. */
  sweep(): void {
    const before = this.#options.clock.nowMs() - this.#options.lingerMs
    for (const [number, partition] of this.#partitions) {
      if (partition.admissions > 0 || partition.isUsed || partition.lastUsedMs >= before) continue
      this.#options.log.close(number)
      this.#partitions.delete(number)
    }
  }

  async #start(number: number): Promise<P> {
    const { persisted, log, create } = this.#options
    const start = await fromHistory(persisted.position(number))
    const partition = create(number, start)
    this.#partitions.set(number, partition)
    log.open(number, start.nextOffset, (records) => partition.receive(records))
    return partition
  }
}

/** To a client it matters which of our servers cannot be reached: without Postgres only joins and syncs fail. */
export async function fromHistory<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (err) {
    throw hasCode(err, 'unavailable') ? new ChatError('history_unavailable', undefined, { cause: err }) : err
  }
}
