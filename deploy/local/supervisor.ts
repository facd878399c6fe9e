import { setTimeout as sleep } from 'node:timers/promises'
import { StackError } from './config.ts'
import { describeExit, type LocalProcess } from './process.ts'
import { type Progress, seconds } from './progress.ts'

const RESTART = { attemptsMax: 5, delayMsMin: 500, delayMsMax: 10_000, healthyAfterMs: 30_000 } as const

/**
 * How long to wait before the n-th start in a row, or undefined to give up. A process that ran
 * for `healthyAfterMs` was healthy: its end begins a new row.
 */
export class RestartPolicy {
  #inARow = 0

  next(uptimeMs: number): number | undefined {
    if (uptimeMs >= RESTART.healthyAfterMs) this.#inARow = 0
    if (this.#inARow >= RESTART.attemptsMax) return undefined
    return Math.min(RESTART.delayMsMin * 2 ** this.#inARow++, RESTART.delayMsMax)
  }
}

/** Starts again what ends without being asked to, and says so; gives up on what keeps ending. */
export class Supervisor {
  /** Resolves with what went wrong when something cannot be kept running; else never. */
  readonly failed: Promise<StackError>
  readonly #progress: Progress
  readonly #stopped = new AbortController()
  #fail!: (err: StackError) => void

  constructor(progress: Progress) {
    this.#progress = progress
    this.failed = new Promise((resolve) => { this.#fail = resolve })
  }

  /** Watches a running process; `start` starts it again and waits until it is ready. */
  watch(process: LocalProcess, start: () => Promise<LocalProcess>): void {
    void this.#watch(process, start)
  }

  /** From now on an end is expected. */
  stop(): void {
    this.#stopped.abort()
  }

  async #watch(first: LocalProcess, start: () => Promise<LocalProcess>): Promise<void> {
    const policy = new RestartPolicy()
    let current: LocalProcess | undefined = first
    let startedMs = Date.now()
    let ending = ''
    for (;;) {
      if (current) ending = `ended (${describeExit(await current.exited)})\n${current.logTail()}`
      if (this.#stopped.signal.aborted) return
      const delayMs = policy.next(Date.now() - startedMs)
      if (delayMs === undefined) {
        this.#fail(new StackError(`${first.name} cannot be kept running: it ${ending}`))
        return
      }
      this.#progress.say(`! ${first.name} ${ending}\n  starting it again in ${seconds(delayMs)}`)
      if (!(await this.#wait(delayMs))) return
      startedMs = Date.now()
      current = await start().catch((err: unknown) => {
        ending = `could not be started: ${err instanceof Error ? err.message : String(err)}`
        return undefined
      })
    }
  }

  /** False if the stop came first. */
  async #wait(delayMs: number): Promise<boolean> {
    return sleep(delayMs, true, { signal: this.#stopped.signal }).catch(() => false)
  }
}
