import { setTimeout as pause } from 'node:timers/promises'
import type { System } from '../../support/system.ts'

export type UnaskedExit = { readonly id: string; readonly at: number; readonly log: string; readonly code: string | undefined }

const WATCH_MS = 200

/**
 * The service processes, each looked after as by the supervisor of `npm start`: what ends without being asked to is
 * started again, and noted.
 */
export class Crew {
  readonly unasked: UnaskedExit[] = []
  kills = 0
  readonly #system: System
  /** Processes that a fault has in hand: nobody else starts them. */
  readonly #busy = new Set<string>()
  readonly #stopped = new AbortController()
  #watching: Promise<void>

  constructor(system: System) {
    this.#system = system
    this.#watching = this.#watch()
  }

  ids(...services: readonly string[]): string[] {
    return [...this.#system.processes.keys()].filter((id) => services.length === 0 || services.some((service) => id.startsWith(`${service}-`)))
  }

  /** SIGKILL; started again after `downMs`, ready when it returns. */
  async kill(id: string, downMs = 0): Promise<void> {
    await this.hold(id, async (process) => {
      await process.kill()
      this.kills++
      await pause(downMs)
      await process.start()
    })
  }

  /** SIGTERM, and started again when it has ended. @returns its exit code */
  async restart(id: string, downMs = 0): Promise<number | null> {
    return this.hold(id, async (process) => {
      const code = await process.stop()
      await pause(downMs)
      await process.start()
      return code
    })
  }

  /** SIGSTOP for so long, then SIGCONT. */
  async freeze(id: string, ms: number): Promise<void> {
    const process = this.#system.process(id)
    process.pause()
    try {
      await pause(ms)
    } finally {
      process.resume()
    }
  }

  /** Nobody else touches it meanwhile. */
  async hold<T>(id: string, work: (process: ReturnType<System['process']>) => Promise<T>): Promise<T> {
    while (this.#busy.has(id)) await pause(50)
    this.#busy.add(id)
    try {
      return await work(this.#system.process(id))
    } finally {
      this.#busy.delete(id)
    }
  }

  async close(): Promise<void> {
    this.#stopped.abort()
    await this.#watching
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      await pause(WATCH_MS, undefined, { signal }).catch(() => {})
      for (const [id, process] of this.#system.processes) {
        if (process.isRunning || this.#busy.has(id) || signal.aborted) continue
        this.unasked.push({ id, at: Date.now(), log: process.logTail(6), code: fatalCodeIn(process.logTail(60)) })
        this.hold(id, () => process.start()).catch(() => {
          // It has ended again: the next look finds it.
        })
      }
    }
  }
}

/** The error code that the process said it ends with. */
function fatalCodeIn(log: string): string | undefined {
  const life = log.slice(log.lastIndexOf('"msg":"started"') + 1)
  const fatal = life.split('\n').findLast((line) => line.includes('"level":"fatal"'))
  return fatal === undefined ? undefined : /"code":"(\w+)"/.exec(fatal)?.[1]
}
