const SEED = 0x9747b28c
const M = 0x5bd1e995

/** Kafka's murmur2 of the key's UTF-8 bytes, as the Java client's default partitioner computes it; signed 32 bit. */
export function murmur2(key: Uint8Array): number {
  const { length } = key
  let h = SEED ^ length
  const blocks = length >> 2
  for (let i = 0; i < blocks; i++) {
    const at = i << 2
    let k = key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24)
    k = Math.imul(k, M)
    k ^= k >>> 24
    k = Math.imul(k, M)
    h = Math.imul(h, M) ^ k
  }
  const tail = blocks << 2
  switch (length & 3) {
    case 3:
      h ^= key[tail + 2]! << 16
      h ^= key[tail + 1]! << 8
      h = Math.imul(h ^ key[tail]!, M)
      break
    case 2:
      h ^= key[tail + 1]! << 8
      h = Math.imul(h ^ key[tail]!, M)
      break
    case 1:
      h = Math.imul(h ^ key[tail]!, M)
      break
  }
  h = Math.imul(h ^ (h >>> 13), M)
  return h ^ (h >>> 15)
}

const utf8 = new TextEncoder()

/** The partition of a key: the same in every keyed topic, for every client library with the Java default partitioner. */
export function partitionOf(key: string, partitions: number): number {
  return (murmur2(utf8.encode(key)) & 0x7fffffff) % partitions
}
