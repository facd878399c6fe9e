import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** Every choice of a run comes from here: one seed gives one run. */
export class Random {
  readonly #generator: { next(): number }

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(Math.imul(seed, 0x9e3779b1))
    // Neighbouring seeds begin alike.
    for (let i = 0; i < 32; i++) this.#generator.next()
  }

  /** In [0, 1). */
  readonly next = (): number => (this.#generator.next() >>> 0) / 4_294_967_296

  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** In `min` … `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  between(min: number, max: number): number {
    return min + this.next() * (max - min)
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.next() * from.length)]!
  }

  /** One of the names, each as often as its weight says. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const entries = Object.entries(weights) as [K, number][]
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [name, weight] of entries) if ((left -= weight) < 0) return name
    return entries.at(-1)![0]
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.int(0, 255))
  }

  hex(length: number): string {
    return Buffer.from(this.bytes(length)).toString('hex')
  }
}
