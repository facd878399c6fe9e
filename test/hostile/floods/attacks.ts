import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { answerOn, rawRequest, upgradeHeaders } from '../raw-http.ts'
import { frameOf, opcodes, RawWebSocket } from '../raw-ws.ts'

/** Where to attack, and as whom. */
export type Target = {
  readonly port: number
  /** Of users who are in no room. */
  readonly strangers: readonly string[]
  /** Somebody who is in all rooms with much traffic. */
  readonly busy: { readonly token: string; readonly orderIds: readonly string[]; readonly sockets: number }
}

/** How often each thing was done, and what came of it: closes by code, answers by status. */
export type Counts = Record<string, number>
/** Goes on until `stopped`; what it still holds open is closed by the end of its process. */
export type Attack = (target: Target, counts: Counts, stopped: AbortSignal) => Promise<void>

const add = (counts: Counts, what: string, n = 1) => {
  counts[what] = (counts[what] ?? 0) + n
}

/** `work` so often a second, whatever it takes (open loop), in steps of 20 ms. */
async function paced(perSecond: number, stopped: AbortSignal, work: (n: number) => void): Promise<void> {
  const startMs = performance.now()
  for (let done = 0; !stopped.aborted; await pause(20)) {
    const due = ((performance.now() - startMs) / 1_000) * perSecond
    for (; done < due; done++) work(done)
  }
}

/** A socket of this user, opened again whenever the edge has closed it. */
class Reopened {
  #open: RawWebSocket | undefined
  #opening = false
  readonly #target: Target
  readonly #token: string
  readonly #counts: Counts

  constructor(target: Target, token: string, counts: Counts) {
    this.#target = target
    this.#token = token
    this.#counts = counts
  }

  get(): RawWebSocket | undefined {
    if (this.#open && !this.#open.ended) return this.#open
    if (this.#open) add(this.#counts, `closed with ${this.#open.closeCode}`)
    this.#open = undefined
    if (!this.#opening) void this.#reopen()
    return undefined
  }

  async #reopen(): Promise<void> {
    this.#opening = true
    try {
      this.#open = await RawWebSocket.open(this.#target.port, '/ws/chat', this.#token, { keep: false })
      add(this.#counts, 'opened')
    } catch {
      add(this.#counts, 'refused')
      await pause(100)
    }
    this.#opening = false
  }
}

const sockets = (target: Target, counts: Counts, n: number) => target.strangers.slice(0, n).map((token) => new Reopened(target, token, counts))

/** Frames on ten sockets in turn, each built anew: masks may not repeat. */
function frames(perSecond: number, build: (n: number) => Buffer): Attack {
  return async (target, counts, stopped) => {
    const all = sockets(target, counts, 10)
    await paced(perSecond, stopped, (n) => {
      const socket = all[n % all.length]!.get()
      if (!socket) return
      socket.send(build(n))
      add(counts, 'frames')
    })
  }
}

const connections = (perSecond: number, work: (target: Target, counts: Counts, n: number) => Promise<void>): Attack => async (target, counts, stopped) => {
  await paced(perSecond, stopped, (n) => void work(target, counts, n).catch(() => add(counts, 'failed')))
}

const bearer = (token: string): readonly [string, string] => ['Authorization', `Bearer ${token}`]

/** As many connections as asked for, 100 a second; each is handed to `hold` when it stands. */
async function heldOpen(target: Target, counts: Counts, stopped: AbortSignal, many: number, hold: (socket: Socket) => void): Promise<void> {
  await paced(100, stopped, (n) => {
    if (n >= many) return
    const socket = connect(target.port, '127.0.0.1', () => {
      add(counts, 'opened')
      hold(socket)
    })
    socket.on('error', () => add(counts, 'reset'))
    socket.on('close', () => add(counts, 'closed by the edge'))
    socket.resume()
  })
}

const slowloris: Attack = (target, counts, stopped) => {
  const text = `GET /ws/chat HTTP/1.1\r\nHost: x\r\n${'X-Filler: yes\r\n'.repeat(200)}`
  return heldOpen(target, counts, stopped, 300, (socket) => {
    let at = 0
    const timer = setInterval(() => {
      if (socket.destroyed) clearInterval(timer)
      else socket.write(text[at++ % text.length]!)
    }, 1_000)
  })
}

const joinOf = (id: number, roomId: string): string => JSON.stringify({ id, type: 'join', roomId, since: 0 })

/** Dashboards that stop reading once they are live in all their rooms. */
const stalled: Attack = async ({ port, busy }, counts, stopped) => {
  const all = await Promise.all(Array.from({ length: busy.sockets }, () => RawWebSocket.open(port, '/ws/chat', busy.token)))
  for (const socket of all) for (const [i, roomId] of busy.orderIds.entries()) socket.text(joinOf(i, roomId))
  await pause(1_500)
  for (const socket of all) socket.stall()
  add(counts, 'opened', all.length)
  while (!stopped.aborted) await pause(50)
  // Only now do they read: what was kept for them, and why it ended.
  for (const { socket } of all) socket.resume()
  await pause(2_500)
  for (const { closeCode } of all) add(counts, closeCode === undefined ? 'still open' : `closed with ${closeCode}`)
}

/** They ask what has long answers, and never read one. */
const neverReads: Attack = async ({ port, busy }, counts, stopped) => {
  const all = await Promise.all(Array.from({ length: busy.sockets }, () => RawWebSocket.open(port, '/ws/chat', busy.token, { keep: false })))
  for (const socket of all) socket.stall()
  await paced(25 * all.length, stopped, (n) => {
    all[n % all.length]!.text(joinOf(n, busy.orderIds[n % busy.orderIds.length]!))
    add(counts, 'frames')
  })
}

const halfOpen: Attack = async (target, counts, stopped) => {
  const silent = heldOpen(target, counts, stopped, 500, () => {})
  for (const token of target.strangers.slice(10, 20)) {
    const socket = await RawWebSocket.open(target.port, '/ws/chat', token, { keep: false })
    socket.stall()
    add(counts, 'upgraded')
  }
  await silent
}

const headerBomb = connections(20, async ({ port }, counts, n) => {
  const bomb = n % 2 === 0 ? [['X-Bomb', 'x'.repeat(64 * 1024)] as const] : Array.from({ length: 2_000 }, (_, i) => [`X-${i}`, 'x'.repeat(20)] as const)
  const { status, socket } = await rawRequest(port, '/ws/chat', [...upgradeHeaders, ...bomb])
  socket.destroy()
  add(counts, status === 0 ? 'closed' : `status ${status}`)
})

const storm = connections(60, async ({ port, strangers }, counts, n) => {
  const { status, socket } = await rawRequest(port, '/ws/chat', [...upgradeHeaders, bearer(strangers[n % strangers.length]!)])
  add(counts, `status ${status}`)
  socket.destroy()
})

const unknownRooms: Attack = async (target, counts, stopped) => {
  const byFrame = frames(100, (n) => frameOf(opcodes.text, JSON.stringify({ id: n, type: 'join', roomId: `nobody-knows-${n}` })))(target, counts, stopped)
  const byHandshake = connections(20, async ({ port, strangers }, _, n) => {
    const { status, socket } = await rawRequest(port, `/chat?orderId=nowhere-${n}`, [...upgradeHeaders, bearer(strangers[20 + (n % 20)]!)])
    socket.destroy()
    add(counts, `status ${status}`)
  })(target, counts, stopped)
  await Promise.all([byFrame, byHandshake])
}

const noHttp = connections(50, async ({ port }, counts, n) => {
  const socket = connect(port, '127.0.0.1')
  socket.write(Buffer.from(Array.from({ length: 600 }, (_, i) => (i * 31 + n) % 256)))
  const { status } = await answerOn(socket)
  socket.destroy()
  add(counts, status === 0 ? 'closed' : `status ${status}`)
})

/** What each does to the edge is paced to what one box can send while the edge still has a core for itself. */
export const attacks = {
  'a flood of requests': frames(1_500, (n) => frameOf(opcodes.text, JSON.stringify({ id: n, type: 'ping' }))),
  'a flood of garbage': frames(300, () => frameOf(opcodes.text, '{"type":')),
  'frames above the limit': frames(25, (n) => frameOf(opcodes.text, 'x'.repeat(n % 5 === 0 ? 200_000 : 70_000))),
  'a flood of WebSocket pings': frames(3_000, () => frameOf(opcodes.ping, 'x'.repeat(100))),
  'joins of unknown rooms': unknownRooms,
  'connect and disconnect': storm,
  'header bombs': headerBomb,
  'no HTTP': noHttp,
  'half-open connections': halfOpen,
  'slowloris handshakes': slowloris,
  'who asks and never reads': neverReads,
  '5 % of all sockets stalled': stalled,
} as const satisfies Record<string, Attack>

export type AttackName = keyof typeof attacks
