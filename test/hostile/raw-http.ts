import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

export type RawAnswer = {
  /** 0: the connection was closed without an answer. */
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
}

export const upgradeHeaders: readonly (readonly [string, string])[] = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
]

const ANSWER_WITHIN_MS = 10_000

/** One HTTP request, byte for byte as given: what no well-behaved client would send. The socket stays open on 101 alone. */
export async function rawRequest(port: number, path: string, headers: readonly (readonly [string, string])[]): Promise<RawAnswer & { readonly socket: Socket }> {
  const socket = connect(port, '127.0.0.1')
  const lines = [`GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', ...headers.map(([name, value]) => `${name}: ${value}`), '', '']
  socket.write(Buffer.from(lines.join('\r\n'), 'latin1'))
  const answer = await answerOn(socket)
  if (answer.status !== 101) socket.destroy()
  return { ...answer, socket }
}

/** The answer to what was written to `socket`. */
export function answerOn(socket: Socket): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let text = ''
    const stopped = new AbortController()
    const done = () => {
      stopped.abort()
      socket.off('data', onData).off('close', done)
      resolve(parse(text))
    }
    const onData = (bytes: Buffer) => {
      text += bytes.toString('latin1')
      if (isWhole(text)) done()
    }
    // A reset is an answer of its own: status 0, or what came before it.
    socket.on('error', () => {})
    socket.on('data', onData).on('close', done)
    pause(ANSWER_WITHIN_MS, undefined, { signal: stopped.signal }).then(done, () => {})
  })
}

function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return false
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end + 2))?.[1] ?? '0'
  return text.length >= end + 4 + Number(length)
}

function parse(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n')
  const [first = '', ...lines] = (end < 0 ? text : text.slice(0, end)).split('\r\n')
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  })
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0), headers: new Map(headers), body: end < 0 ? '' : text.slice(end + 4) }
}
