import { setTimeout as pause } from 'node:timers/promises'
import { stallAll } from '../harness/network.ts'
import type { FaultContext } from '../harness/round.ts'
import { REQUEST_TIMEOUT_MS } from '../harness/world.ts'

const LONG_OUTAGE_MS = 30_000

/** Postgres stopped or killed and started again; the last time of several it is gone for 30 s. Chat goes on meanwhile. */
export async function postgres(context: FaultContext): Promise<void> {
  const { world, random, times } = context
  for (let i = 0; i < times; i++) {
    const isLong = times > 1 && i === times - 1
    await chatGoesOn(context, 'Postgres', isLong ? LONG_OUTAGE_MS : 3_000 + random() * 2_000, {
      down: () => world.stack.control[random() < 0.5 ? 'stop' : 'kill']('postgres'),
      up: () => world.stack.control.startPostgres(),
    })
  }
}

/** Redis killed, or reached no more. */
export async function redis(context: FaultContext): Promise<void> {
  const { world, random, times } = context
  for (let i = 0; i < times; i++) {
    const ms = 4_000 + random() * 6_000
    if (i % 2 === 0) {
      await chatGoesOn(context, 'Redis', ms, { down: () => world.stack.control.kill('redis'), up: () => world.stack.control.start('redis') })
    } else {
      await chatGoesOn(context, 'answers of Redis', ms, stallOf(context, 'redis'))
    }
  }
}

/** The registry away or silent, while a room-state and a persister are killed: who lives has the schemas. */
export async function registry(context: FaultContext): Promise<void> {
  const { world, random, times } = context
  for (let i = 0; i < times; i++) {
    const away = i % 2 === 0 ? { down: () => world.stack.control.stop('registry'), up: () => world.stack.control.start('registry') } : stallOf(context, 'registry')
    const kills: Promise<void>[] = []
    await chatGoesOn(context, 'the registry', 12_000 + random() * 5_000, {
      down: async () => {
        await away.down()
        // Ready again when the registry is.
        kills.push(...['room-state', 'message-persister'].map((service) => world.crew.kill(`${service}-${1 + Math.floor(random() * 2)}`)))
      },
      up: () => away.up(),
    })
    await Promise.all(kills)
  }
}

/** Answers of Kafka held for longer than a service waits: for one service, for one broker, or for all. */
export async function stalledAnswers({ world, random, say, times }: FaultContext): Promise<void> {
  for (let i = 0; i < times; i++) {
    const ids = world.crew.ids()
    const broker = Math.floor(random() * 3)
    const one = ids[Math.floor(random() * ids.length)]!
    const [whose, proxies] = [
      [`of ${one}`, world.network.to('kafka', [one])],
      [`of broker ${broker + 1}`, ids.flatMap((id) => world.network.of(id).kafka[broker]!)],
      ['of all', world.network.to('kafka')],
    ][i % 3] as [string, ReturnType<typeof world.network.to>]
    const ms = REQUEST_TIMEOUT_MS + 500 + random() * 4_000
    say(`answers ${whose} held for ${(ms / 1_000).toFixed(1)} s`)
    const stall = stallAll(proxies, { direction: 'down' })
    await pause(ms)
    stall.release()
    await pause(3_000 + random() * 3_000)
  }
}

/** Cuts, delays and slowness, of any server and any service. */
export async function network({ world, random, say, times }: FaultContext): Promise<void> {
  const servers = ['kafka', 'kafka', 'postgres', 'redis'] as const
  for (let i = 0; i < times; i++) {
    const server = servers[Math.floor(random() * servers.length)]!
    const proxies = world.network.to(server)
    const kind = i % 3
    const ms = 2_000 + random() * 4_000
    say(`${server}: ${['cut several times', '100 ms late each way', '200 KB/s'][kind]} for ${(ms / 1_000).toFixed(1)} s`)
    if (kind === 0) {
      for (let left = ms; left > 0; left -= 700) {
        for (const proxy of proxies) if (random() < 0.3) proxy.cut()
        await pause(700)
      }
    } else {
      for (const proxy of proxies) proxy.shape(kind === 1 ? { delayMs: 100 } : { bytesPerSecond: 200_000 })
      await pause(ms)
      for (const proxy of proxies) proxy.shape({})
    }
    await pause(2_000)
  }
}

type Outage = { down(): Promise<unknown>; up(): Promise<unknown> }

function stallOf({ world }: FaultContext, server: 'redis' | 'registry'): Outage {
  let stall: ReturnType<typeof stallAll>
  return {
    down: async () => {
      stall = stallAll(world.network.to(server), { direction: 'down' })
    },
    up: async () => stall.release(),
  }
}

/** People go on seeing what is new all through the outage. */
async function chatGoesOn({ say, seen, violated }: FaultContext, what: string, ms: number, { down, up }: Outage): Promise<void> {
  say(`without ${what} for ${(ms / 1_000).toFixed(1)} s`)
  await down()
  try {
    await pause(1_000)
    const half = (ms - 1_000) / 2
    const before = await seen()
    await pause(half)
    const between = await seen()
    await pause(half)
    const after = await seen()
    say(`seen meanwhile: ${between - before}, then ${after - between}`)
    if (between === before || after === between) violated(`nobody saw anything new while ${what} was away`)
  } finally {
    await up()
  }
  await pause(4_000)
}
