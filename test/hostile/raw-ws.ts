import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { rawRequest, upgradeHeaders } from './raw-http.ts'

export const opcodes = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const

export type FrameOptions = {
  readonly fin?: boolean
  /** The three reserved bits. */
  readonly rsv?: number
  readonly masked?: boolean
  /** The length that the header tells, where it is not that of the payload. */
  readonly toldLength?: number
}

/** One WebSocket frame, as a client sends it unless told otherwise. */
export function frameOf(opcode: number, payload: Buffer | string = '', { fin = true, rsv = 0, masked = true, toldLength }: FrameOptions = {}): Buffer {
  const body = Buffer.from(payload)
  const length = toldLength ?? body.length
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode
  const header = length < 126 ? Buffer.from([first, length]) : length < 65_536 ? Buffer.from([first, 126, length >> 8, length & 255]) : Buffer.alloc(10)
  if (length >= 65_536) {
    header.set([first, 127])
    header.writeBigUInt64BE(BigInt(length), 2)
  }
  if (!masked) return Buffer.concat([header, body])
  header[1]! |= 0x80
  const mask = randomBytes(4)
  for (let i = 0; i < body.length; i++) body[i]! ^= mask[i & 3]!
  return Buffer.concat([header, mask, body])
}

export type Received = { readonly opcode: number; readonly fin: boolean; readonly rsv: number; readonly payload: Buffer }

/** A WebSocket without manners: sends what it is told, answers nothing by itself, keeps what comes. */
export class RawWebSocket {
  readonly socket: Socket
  readonly frames: Received[] = []
  /** The code of the close frame; 1005 where it has none, 1006 where the connection ended without one. */
  closeCode: number | undefined
  ended = false
  #rest: Buffer = Buffer.alloc(0)
  #keep: boolean

  private constructor(socket: Socket, keep: boolean) {
    this.socket = socket
    this.#keep = keep
    socket.on('data', (bytes: Buffer) => this.#take(bytes))
    socket.on('close', () => {
      this.ended = true
      this.closeCode ??= 1006
    })
  }

  /** `keep: false`: only the close code is looked at. @throws where it is refused */
  static async open(port: number, path: string, token?: string, { keep = true } = {}): Promise<RawWebSocket> {
    const authorization = token === undefined ? [] : [['Authorization', `Bearer ${token}`] as const]
    const { status, body, socket } = await rawRequest(port, path, [...upgradeHeaders, ...authorization])
    if (status !== 101) throw new Error(`refused with ${status} ${body}`)
    const raw = new RawWebSocket(socket, keep)
    // What came right behind the answer.
    if (body !== '') raw.#take(Buffer.from(body, 'latin1'))
    return raw
  }

  send(...frames: readonly Buffer[]): void {
    if (!this.ended) this.socket.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames))
  }

  text(text: string): void {
    this.send(frameOf(opcodes.text, text))
  }

  /** Reads no more: what comes waits in the network. */
  stall(): void {
    this.socket.pause()
  }

  destroy(): void {
    this.socket.destroy()
  }

  #take(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    for (;;) {
      const [first = 0, second = 0] = this.#rest
      if (this.#rest.length < 2) return
      const short = second & 127
      const start = short < 126 ? 2 : short === 126 ? 4 : 10
      if (this.#rest.length < start) return
      const length = short < 126 ? short : short === 126 ? this.#rest.readUInt16BE(2) : Number(this.#rest.readBigUInt64BE(2))
      if (this.#rest.length < start + length) return
      this.#receive({ opcode: first & 15, fin: (first & 128) !== 0, rsv: (first >> 4) & 7, payload: this.#rest.subarray(start, start + length) })
      this.#rest = this.#rest.subarray(start + length)
    }
  }

  #receive(frame: Received): void {
    if (frame.opcode === opcodes.close) this.closeCode ??= frame.payload.length >= 2 ? frame.payload.readUInt16BE(0) : 1005
    if (this.#keep) this.frames.push(frame)
  }
}
