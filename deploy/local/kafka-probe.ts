import net from 'node:net'

const METADATA = 3
const METADATA_VERSION = 5
const CLIENT_ID = 'order-chat-probe'
const TIMEOUT_MS = 2_000

/** Ids of the brokers that the cluster knows, as told by one of them. */
export async function kafkaBrokerIds(host: string, port: number): Promise<number[]> {
  return brokerIdsIn(await exchange(host, port, metadataRequest()))
}

/** A Metadata request (version 5) that names no topic. */
export function metadataRequest(): Buffer {
  const client = Buffer.from(CLIENT_ID)
  const body = Buffer.alloc(4 + 2 + 2 + 4 + 2 + client.length + 4 + 1)
  let at = body.writeInt32BE(body.length - 4, 0)
  at = body.writeInt16BE(METADATA, at)
  at = body.writeInt16BE(METADATA_VERSION, at)
  at = body.writeInt32BE(1, at)
  at = body.writeInt16BE(client.length, at)
  at += client.copy(body, at)
  at = body.writeInt32BE(0, at)
  body.writeInt8(0, at)
  return body
}

/** Reads the broker list from a Metadata response (version 5) without its length prefix. */
export function brokerIdsIn(response: Buffer): number[] {
  let at = 4 + 4 // correlation id, throttle time
  const count = response.readInt32BE(at)
  at += 4
  const ids: number[] = []
  for (let i = 0; i < count; i++) {
    ids.push(response.readInt32BE(at))
    at += 4
    at += 2 + response.readInt16BE(at) // host
    at += 4 // port
    at += 2 + Math.max(0, response.readInt16BE(at)) // rack, −1 for none
  }
  return ids
}

/** Sends one framed request and returns the first framed answer. */
function exchange(host: string, port: number, request: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, timeout: TIMEOUT_MS }, () => socket.write(request))
    const fail = (err: Error): void => {
      socket.destroy()
      reject(err)
    }
    let seen = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      seen = Buffer.concat([seen, chunk])
      if (seen.length < 4 || seen.length < 4 + seen.readInt32BE(0)) return
      socket.destroy()
      resolve(seen.subarray(4))
    })
    socket.on('timeout', () => fail(new Error(`no answer from ${host}:${port}`)))
    socket.on('error', fail)
    socket.on('close', () => reject(new Error(`${host}:${port} closed the connection`)))
  })
}
