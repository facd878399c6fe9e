import { setTimeout as pause } from 'node:timers/promises'
import { Command } from 'commander'
import WebSocket from 'ws'
import { signDevToken } from '#libs/auth/dev-key.ts'
import { HOST } from '../../deploy/local/config.ts'
import { stackFromEnv } from '../../deploy/local/local-stack.ts'
import { createOrderPublisher } from '../../deploy/local/order.ts'
import { lineProgress } from '../../deploy/local/progress.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER } from '../../deploy/local/service-env.ts'

/**
 * Load on a running `npm start`: two people a room, each on another edge; messages at a fixed rate whatever the answers
 * take (open loop), latency from the *scheduled* send time to the receipt at the other edge. Ends by itself.
 */
type Options = { rooms: number; rates: number[]; seconds: number }

const { ports, world } = stackFromEnv({ env: process.env, progress: lineProgress(console.log) })
const OPENING_AT_ONCE = 20
const services = ['sqs-bridge', 'room-state', 'message-persister', 'edge-1', 'edge-2', 'api']

type Pair = { readonly roomId: string; readonly sender: WebSocket; readonly receiver: WebSocket }

async function open(roomId: string, userId: string, port: number, onText: (text: string) => void): Promise<WebSocket> {
  const token = await signDevToken({ file: world.devKeyFile, issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, userId, role: 'user', ttlS: 3_600 })
  for (let attempt = 0; ; attempt++) {
    const ws = new WebSocket(`ws://${HOST}:${port}/chat?orderId=${roomId}`, { headers: { authorization: `Bearer ${token}` } })
    ws.on('message', (data) => onText(data.toString()))
    ws.on('close', (code, reason) => console.error(`${userId} was closed with ${code} ${reason}`))
    try {
      await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject))
      return ws
    } catch (err) {
      if (attempt > 100) throw err
      await pause(100)
    }
  }
}

async function openPair(roomId: string, onText: (text: string) => void): Promise<Pair> {
  const receiver = await open(roomId, `v-${roomId}`, ports.edge[1], onText)
  return { roomId, sender: await open(roomId, `c-${roomId}`, ports.edge[0], reportError), receiver }
}

function reportError(text: string): void {
  if (text.includes('"type":"error"')) console.error(text)
}

/** Scheduled send times by message text, and what came of them. */
class Run {
  readonly latenciesMs: number[] = []
  readonly #scheduledMs = new Map<string, number>()
  #sent = 0

  receive(text: string): void {
    const match = /"content":"(m\d+-\d+)"/.exec(text)
    const scheduled = match && this.#scheduledMs.get(match[1]!)
    if (scheduled == null) return
    this.latenciesMs.push(performance.now() - scheduled)
    this.#scheduledMs.delete(match![1]!)
  }

  /** Messages that did not arrive. */
  get missing(): readonly string[] {
    return [...this.#scheduledMs.keys()]
  }

  get lost(): number {
    return this.#scheduledMs.size
  }

  get sent(): number {
    return this.#sent
  }

  async play(pairs: readonly Pair[], rate: number, seconds: number): Promise<void> {
    const startMs = performance.now()
    const total = rate * seconds
    while (this.#sent < total) {
      const due = Math.min(total, Math.floor(((performance.now() - startMs) / 1_000) * rate))
      for (; this.#sent < due; this.#sent++) {
        const content = `m${rate}-${this.#sent}`
        this.#scheduledMs.set(content, startMs + (this.#sent / rate) * 1_000)
        pairs[this.#sent % pairs.length]!.sender.send(JSON.stringify({ id: this.#sent, type: 'sendMessage', message: content }))
      }
      await pause(1)
    }
    for (let i = 0; i < 100 && this.lost > 0; i++) await pause(100)
  }
}

const percentile = (sorted: readonly number[], p: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN

type Usage = { readonly cpuS: number; readonly rssMb: number }

async function usage(): Promise<Map<string, Usage>> {
  const found = new Map<string, Usage>()
  for (const [i, name] of services.entries()) {
    const text = await (await fetch(`http://${HOST}:${ports.metrics + i}/metrics`)).text()
    const value = (metric: string) => Number(new RegExp(`^${metric}(?:{[^}]*})? (\\S+)`, 'm').exec(text)?.[1])
    found.set(name, { cpuS: value('process_cpu_seconds_total'), rssMb: value('process_resident_memory_bytes') / 1024 / 1024 })
  }
  return found
}

async function main({ rooms, rates, seconds }: Options): Promise<void> {
  let run = new Run()
  const publisher = createOrderPublisher({ queueUrl: world.endpoints.sqsQueueUrl, endpoint: world.endpoints.sqsEndpoint })
  const prefix = `load-${Date.now()}`
  const roomIds = Array.from({ length: rooms }, (_, i) => `${prefix}-${i}`)
  for (const orderId of roomIds) await publisher.publish({ type: 'order.accepted', payload: { orderId, customerId: `c-${orderId}`, vendorId: `v-${orderId}` } })
  publisher.close()
  const pairs: Pair[] = []
  for (let i = 0; i < roomIds.length; i += OPENING_AT_ONCE) {
    pairs.push(...(await Promise.all(roomIds.slice(i, i + OPENING_AT_ONCE).map((roomId) => openPair(roomId, (text) => run.receive(text))))))
  }
  console.log(`${rooms} rooms, ${rooms * 2} sockets; ${seconds} s each\n`)
  console.log('msg/s      sent  lost    p50 ms    p95 ms    p99 ms    max ms   CPU s per 1,000 messages (our processes)')
  for (const rate of rates) {
    run = new Run()
    const before = await usage()
    await run.play(pairs, rate, seconds)
    const after = await usage()
    const sorted = run.latenciesMs.toSorted((a, b) => a - b)
    const figures = [0.5, 0.95, 0.99, 1].map((p) => percentile(sorted, p).toFixed(1).padStart(10))
    const cpu = services.map((s) => `${s} ${(((after.get(s)!.cpuS - before.get(s)!.cpuS) / run.sent) * 1_000).toFixed(2)}`)
    console.log(`${String(rate).padStart(5)} ${String(run.sent).padStart(9)} ${String(run.lost).padStart(5)}${figures.join('')}   ${cpu.join(', ')}`)
  }
  const memory = [...(await usage())].map(([name, { rssMb }]) => `${name} ${Math.round(rssMb)} MB`)
  console.log(`\nresident: ${memory.join(', ')}`)
  process.exit(0)
}

const list = (raw: string) => raw.split(',').map(Number)
await new Command('load')
  .option('--rooms <n>', 'rooms of two people', Number, 500)
  .option('--rates <list>', 'messages per second, one after the other', list, [100, 1_000])
  .option('--seconds <n>', 'for each rate', Number, 20)
  .action(main)
  .parseAsync()
