import { HOST } from '../../../deploy/local/config.ts'
import type { Splitter } from './tcp-proxy.ts'

const LENGTH_BYTES = 4

/** Kafka's requests and answers as wholes: each begins with its length (big-endian 32 bit). */
export function kafkaFrames(onFrame: (frame: Buffer) => Buffer = (frame) => frame): Splitter {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const frames: Buffer[] = []
    while (rest.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + rest.readInt32BE(0)
      if (rest.length < end) break
      frames.push(onFrame(rest.subarray(0, end)))
      rest = rest.subarray(end)
    }
    return frames
  }
}

export const PRODUCE = 0

/** What a request asks for: the number of its API. */
export function apiKeyOf(request: Buffer): number {
  return request.readInt16BE(LENGTH_BYTES)
}

/**
 * Kafka's clients are told by the brokers where the brokers are. In these answers each port of the map is replaced,
 * wherever it follows our host's name, so that the next connection comes to the proxy as well.
 */
export function portRewriter(ports: ReadonlyMap<number, number>): (frame: Buffer) => Buffer {
  const host = Buffer.concat([Buffer.from([0, HOST.length]), Buffer.from(HOST)])
  return (frame) => {
    let rewritten: Buffer | undefined
    for (let at = frame.indexOf(host); at >= 0; at = frame.indexOf(host, at + 1)) {
      const portAt = at + host.length
      if (portAt + 4 > frame.length) break
      const port = ports.get(frame.readInt32BE(portAt))
      if (port === undefined) continue
      rewritten ??= Buffer.from(frame)
      rewritten.writeInt32BE(port, portAt)
    }
    return rewritten ?? frame
  }
}
