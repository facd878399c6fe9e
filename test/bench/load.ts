import { setTimeout as pause } from 'node:timers/promises'
import { Command } from 'commander'
import { HOST } from '../../deploy/local/config.ts'
import { runningSupervisor, stackFromEnv } from '../../deploy/local/local-stack.ts'
import { createOrderPublisher } from '../../deploy/local/order.ts'
import { isAlive, readRecords } from '../../deploy/local/pids.ts'
import { lineProgress } from '../../deploy/local/progress.ts'
import { Pair } from './generator/pair.ts'
import { summaryOf, sum } from './measure-rates.ts'
import { cpuBetween, type Pids, residentMb, sampleCpu } from './procfs.ts'
import { formatted } from './stats.ts'
import { customerOf, vendorOf } from './systems/inputs.ts'
import { linksOf } from './systems/links.ts'

/**
 * Load on a running `npm start`, with the generator of `npm run bench`: two people a room, each on another edge; messages
 * at a fixed rate whatever the answers take, latency from the *scheduled* send time to the receipt. Ends by itself.
 */
type Options = { rooms: number; rates: number[]; seconds: number }

const { config, ports, world } = stackFromEnv({ env: process.env, progress: lineProgress(console.log) })
/** Orders are on their way through the queue while the first sockets already come. */
const OPEN_WITHIN_MS = 60_000

async function acceptOrders(roomIds: readonly string[]): Promise<void> {
  const publisher = createOrderPublisher({ queueUrl: world.endpoints.sqsQueueUrl, endpoint: world.endpoints.sqsEndpoint })
  for (const orderId of roomIds) await publisher.publish({ type: 'order.accepted', payload: { orderId, customerId: customerOf(orderId), vendorId: vendorOf(orderId) } })
  publisher.close()
}

/** What runs by records of its start; nothing is known of what runs in containers. */
function processes(): Pids {
  return new Map(readRecords(config.runDir).filter((record) => isAlive(record) && record.name !== 'supervisor').map(({ name, pid }) => [name, pid]))
}

async function openRooms(pair: Pair, count: number): Promise<void> {
  const prefix = `load-${Date.now()}`
  await acceptOrders(Array.from({ length: count }, (_, i) => `${prefix}-${i}`))
  const urls = ports.edge.map((port) => `ws://${HOST}:${port}`)
  const { senders, receivers } = await linksOf(world, urls, count, prefix)
  const deadlineMs = Date.now() + OPEN_WITHIN_MS
  for (;;) {
    try {
      await pair.connect({ senders: { protocol: 'order-chat', links: senders }, receivers: { protocol: 'order-chat', links: receivers } })
      return
    } catch (err) {
      // 404: a room that is not open yet.
      if (Date.now() > deadlineMs || !/ 404/.test((err as Error).message)) throw err
      await pair.disconnect()
      await pause(500)
    }
  }
}

async function main({ rooms, rates, seconds }: Options): Promise<void> {
  if (!runningSupervisor(config)) throw new Error('the stack does not run: npm start')
  const pair = new Pair()
  try {
    await openRooms(pair, rooms)
    console.log(`${rooms} rooms, ${rooms * 2} sockets; ${seconds} s each\n`)
    console.log('msg/s      sent  lost    p50 ms    p99 ms    max ms   CPU s per 1,000 messages')
    for (const rate of rates) {
      const pids = processes()
      const before = sampleCpu(pids)
      const result = summaryOf(await pair.play({ rate, seconds, seed: rate }))
      const cpu = Object.fromEntries([...cpuBetween(before, sampleCpu(pids))].map(([name, s]) => [name, (s / result.delivered) * 1_000]))
      const { p50, p99, max } = result.latencyMs
      const figures = [p50, p99, max].map((ms) => formatted(ms).padStart(10)).join('')
      const parts = Object.entries(cpu).map(([name, s]) => `${name} ${formatted(s)}`).join(', ')
      console.log(`${String(rate).padStart(5)} ${String(result.sent).padStart(9)} ${String(result.sent - result.delivered).padStart(5)}${figures}   ${formatted(sum(cpu))}: ${parts}`)
      for (const trouble of result.troubles) console.error(trouble)
    }
    console.log(`\nresident MB: ${[...residentMb(processes())].map(([name, mb]) => `${name} ${Math.round(mb)}`).join(', ')}`)
  } finally {
    await pair.end()
  }
}

const list = (raw: string) => raw.split(',').map(Number)
await new Command('npm run load --')
  .option('--rooms <n>', 'rooms of two people', Number, 500)
  .option('--rates <list>', 'messages per second, one after the other', list, [100, 1_000])
  .option('--seconds <n>', 'for each rate', Number, 20)
  .action(main)
  .parseAsync()
