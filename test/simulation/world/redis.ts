import type { Process } from './process.ts'
import type { World } from './world.ts'

/** As much of Redis as libs/redis/connection-limit.ts asks for. */
export class Redis {
  downUntilMs = 0
  readonly #world: World
  readonly #sets = new Map<string, Map<string, number>>()

  constructor(world: World) {
    this.#world = world
  }

  client(process: Process) {
    const ask = <T>(label: string, work: () => T): Promise<T> =>
      process.call(`redis ${label}`, () => {
        if (this.#world.nowMs < this.downUntilMs) throw new Error('Redis is down')
        return work()
      })
    return {
      eval: (_script: string, _keys: number, key: string, nowMs: number, untilMs: number, id: string, max: number) => ask('enter', () => this.#enter(key, nowMs, untilMs, id, max)),
      zrem: (key: string, id: string) => ask('leave', () => Number(this.#set(key).delete(id))),
      pipeline: () => {
        const work: (() => void)[] = []
        return {
          get length() {
            return work.length
          },
          zadd: (key: string, untilMs: number, id: string) => work.push(() => this.#set(key).set(id, untilMs)),
          pexpire: () => {},
          exec: () => ask('refresh', () => work.forEach((one) => one())),
        }
      },
    }
  }

  #set(key: string): Map<string, number> {
    const set = this.#sets.get(key) ?? new Map()
    this.#sets.set(key, set)
    return set
  }

  #enter(key: string, nowMs: number, untilMs: number, id: string, max: number): number {
    const set = this.#set(key)
    for (const [other, until] of set) if (until <= nowMs) set.delete(other)
    if (!set.has(id) && set.size >= max) return 0
    set.set(id, untilMs)
    return 1
  }
}
