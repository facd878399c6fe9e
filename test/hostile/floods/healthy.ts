import { setTimeout as pause } from 'node:timers/promises'
import type { ChatSocket } from '../../support/chat-socket.ts'
import type { System } from '../../support/system.ts'
import { quantilesOf } from '../../bench/stats.ts'

export type Healthy = { readonly orderId: string; readonly sender: ChatSocket; readonly receiver: ChatSocket }
export type Traffic = { readonly perSecond: number; readonly content: string; readonly pairs: readonly Healthy[] }
export type Round = { readonly p50Ms: number; readonly p99Ms: number; readonly lost: number; readonly sent: number; readonly rssMb: number; readonly cpuS: number }

const ARRIVED_WITHIN_MS = 5_000

/** People who do nothing wrong: two in each room, one talks, the other listens; `vendorId` listens in the first `busy` rooms. */
export async function openHealthy(system: System, rooms: number, busy: number, vendorId: string): Promise<Healthy[]> {
  const listenerOf = (i: number) => (i < busy ? vendorId : `vendor-${i}`)
  const ids = Array.from({ length: rooms }, (_, i) => `healthy-${i}`)
  for (const [i, orderId] of ids.entries()) await system.order('accepted', orderId, { customerId: `c-${orderId}`, vendorId: listenerOf(i) })
  const pairs: Healthy[] = []
  for (const [i, orderId] of ids.entries()) {
    const [sender, receiver] = await Promise.all([`c-${orderId}`, listenerOf(i)].map((userId) => system.connect(1, { userId, orderId, until: 'open' })))
    pairs.push({ orderId, sender: sender!, receiver: receiver! })
  }
  return pairs
}

/** Messages at a fixed rate, whatever they take; latency from the scheduled time of sending to the receipt. */
export async function measure(system: System, traffics: readonly Traffic[], seconds: number): Promise<Round> {
  const latencies: number[] = []
  const waiting = new Map<string, number>()
  const pairs = [...new Set(traffics.flatMap((traffic) => traffic.pairs))]
  const watches = pairs.map(({ receiver }) => {
    receiver.frames.length = 0
    const onMessage = (data: { toString(): string }) => {
      const key = /"content":"(#\d+-\d+)/.exec(data.toString())?.[1]
      const scheduledMs = key === undefined ? undefined : waiting.get(key)
      if (scheduledMs === undefined) return
      latencies.push(performance.now() - scheduledMs)
      waiting.delete(key!)
    }
    receiver.ws.on('message', onMessage)
    return () => receiver.ws.off('message', onMessage)
  })
  const edge = await watchEdge(system)
  let sent = 0
  await Promise.all(traffics.map(async ({ perSecond, content, pairs }, t) => {
    const startMs = performance.now()
    for (let n = 0; n < perSecond * seconds; await pause(2)) {
      const due = Math.min(perSecond * seconds, ((performance.now() - startMs) / 1_000) * perSecond)
      for (; n < due; n++, sent++) {
        waiting.set(`#${t}-${n}`, startMs + (n / perSecond) * 1_000)
        pairs[n % pairs.length]!.sender.sendRaw(JSON.stringify({ id: n, type: 'sendMessage', message: `#${t}-${n} ${content}` }))
      }
    }
  }))
  for (const deadlineMs = performance.now() + ARRIVED_WITHIN_MS; waiting.size > 0 && performance.now() < deadlineMs; ) await pause(20)
  for (const stop of watches) stop()
  for (const { sender } of pairs) sender.frames.length = 0
  const { p50, p99 } = quantilesOf([...latencies, ...[...waiting].map(() => Number.NaN)])
  return { p50Ms: p50, p99Ms: p99, lost: waiting.size, sent, ...(await edge.stop()) }
}

/** The edge's own figures: the most memory it had meanwhile, and the CPU it took. */
async function watchEdge(system: System) {
  const edge = system.process('edge-1')
  const rss = async () => (await edge.metricSum('process_resident_memory_bytes')) / 1024 / 1024
  const cpu = () => edge.metricSum('process_cpu_seconds_total')
  const startedS = await cpu()
  let rssMb = await rss()
  const timer = setInterval(() => void rss().then((now) => void (rssMb = Math.max(rssMb, now)), () => {}), 500)
  return {
    stop: async () => {
      clearInterval(timer)
      return { rssMb: Math.max(rssMb, await rss()), cpuS: (await cpu()) - startedS }
    },
  }
}
