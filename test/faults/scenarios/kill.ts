import { setTimeout as pause } from 'node:timers/promises'
import type { FaultContext } from '../harness/round.ts'

const SERVICES = ['room-state', 'message-persister', 'edge', 'sqs-bridge', 'inbox']
/** Between two kills of one kind of service, on average: long enough for a session to run out now and then. */
const EVERY_MS = 10_000

/** SIGKILL at any moment; the five kinds are killed side by side, the two of a kind one after the other. */
export async function kill(context: FaultContext): Promise<void> {
  const shares = SERVICES.map((_, i) => Math.floor((context.times + SERVICES.length - 1 - i) / SERVICES.length))
  await Promise.all(SERVICES.map((service, i) => killKind(context, service, shares[i]!)))
}

async function killKind({ world, random, say }: FaultContext, service: string, times: number): Promise<void> {
  const ids = world.crew.ids(service)
  for (let i = 0; i < times; i++) {
    await pause(random() * EVERY_MS)
    const id = ids[Math.floor(random() * ids.length)]!
    await world.crew.kill(id, random() * 2_000)
    say(`${world.crew.kills} kills: ${id}`)
  }
}
