import { setTimeout as pause } from 'node:timers/promises'
import type { FaultContext } from '../harness/round.ts'
import { stallAll } from '../harness/network.ts'
import { SESSION_TIMEOUT_MS } from '../harness/world.ts'
import { apiKeyOf, PRODUCE } from '../proxy/kafka-frames.ts'

/** SIGSTOP for longer than the session, then SIGCONT: each wakes up in a world in which it has a successor. */
export async function zombie({ world, random, say, times }: FaultContext): Promise<void> {
  const services = ['room-state', 'message-persister', 'edge', 'sqs-bridge']
  for (let i = 0; i < times; i++) {
    const ids = world.crew.ids(services[i % services.length]!)
    const id = ids[Math.floor(random() * ids.length)]!
    const ms = SESSION_TIMEOUT_MS + 1_000 + random() * 5_000
    say(`${id} stands still for ${(ms / 1_000).toFixed(1)} s`)
    await world.crew.freeze(id, ms)
    await pause(1_000 + random() * 4_000)
  }
}

/**
 * An owner's requests are held until it has a successor, and only then reach the brokers: its last appends land behind
 * the new owner's marker. Every second owner is frozen meanwhile, the others hear of their lost session.
 */
export async function lateAppends({ world, random, say, times, violated }: FaultContext): Promise<void> {
  const before = world.log.counts.voids
  for (let i = 0; i < times; i++) {
    const ids = world.crew.ids('room-state')
    const id = ids[Math.floor(random() * ids.length)]!
    const stall = stallAll(world.network.to('kafka', [id]), { direction: 'up' })
    // Time for each of its tasks to have an append on its way.
    await pause(200 + random() * 300)
    const ms = SESSION_TIMEOUT_MS + 1_500 + random() * 3_000
    say(`${id} is ${i % 2 === 0 ? 'frozen and ' : ''}cut off for ${(ms / 1_000).toFixed(1)} s, with ${stall.held} connections held`)
    await (i % 2 === 0 ? world.crew.freeze(id, ms).finally(() => stall.release()) : pause(ms).then(() => stall.release()))
    await pause(4_000 + random() * 2_000)
  }
  await world.log.catchUp()
  if (world.log.counts.voids === before) violated('no append landed behind a successor: the case was not hit')
}

/**
 * An owner's own marker is held until it has given it up and set another: when the first one lands after all, it voids
 * what the owner writes, and only the base offset tells him.
 */
export async function lateMarkers({ world, random, say, times, figures, violated }: FaultContext): Promise<void> {
  const before = world.log.counts.voids
  for (let i = 0; i < times; i++) {
    const ids = world.crew.ids('room-state')
    const id = ids[Math.floor(random() * ids.length)]!
    const isProduce = (request: Buffer) => request.length > 6 && apiKeyOf(request) === PRODUCE
    const stall = stallAll(world.network.to('kafka', [id]), { direction: 'up', matches: isProduce })
    await pause(500)
    const appends = stall.held
    // Each task gives its append up, takes over again, and its marker is held as well.
    for (let waited = 0; stall.held < 2 * appends && waited < 15_000; waited += 50) await pause(50)
    stall.holdNoMore()
    say(`${id}: ${stall.held} connections held, ${appends} of them with appends`)
    figures['markers held'] = (figures['markers held'] ?? 0) + stall.held - appends
    // By now it has given up those markers, too, and set others.
    await pause(5_500 + random() * 1_500)
    stall.release()
    await pause(3_000 + random() * 2_000)
  }
  await world.log.catchUp()
  if (world.log.counts.voids === before) violated('no marker landed late: the case was not hit')
}
