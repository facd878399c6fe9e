/** When which message is due; the same numbers for the same arguments, in whatever process. */
export type Schedule = {
  /** Ms after the start, ascending. */
  readonly dueMs: Float64Array
  /** The room of each message: every room in turn, in an order shuffled anew each time round. */
  readonly room: Uint32Array
}

export type Load = {
  readonly rate: number
  readonly seconds: number
  readonly rooms: number
  readonly seed: number
}

/** Poisson arrivals: people do not write in step. */
export function scheduleOf({ rate, seconds, rooms, seed }: Load): Schedule {
  const random = mulberry32(seed)
  const total = Math.round(rate * seconds)
  const dueMs = new Float64Array(total)
  for (let n = 0, at = 0; n < total; n++) {
    at += -Math.log(1 - random())
    dueMs[n] = at
  }
  // Exactly `seconds` long: otherwise the rate itself would be left to chance.
  const scale = total === 0 ? 0 : (seconds * 1_000) / dueMs[total - 1]!
  for (let n = 0; n < total; n++) dueMs[n]! *= scale
  const order = Uint32Array.from({ length: rooms }, (_, i) => i)
  const room = new Uint32Array(total)
  for (let n = 0; n < total; n++) {
    if (n % rooms === 0) shuffle(order, random)
    room[n] = order[n % rooms]!
  }
  return { dueMs, room }
}

function shuffle(items: Uint32Array, random: () => number): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const kept = items[i]!
    items[i] = items[j]!
    items[j] = kept
  }
}

export function mulberry32(seed: number): () => number {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
