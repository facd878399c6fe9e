import { setTimeout as pause } from 'node:timers/promises'
import type { FaultContext } from '../harness/round.ts'

/** Everything is asked to stop and started again, one after the other, servers too. */
export async function rolling({ world, random, say, times, violated, during }: FaultContext): Promise<void> {
  for (let i = 0; i < times; i++) {
    for (const id of world.crew.ids()) {
      const code = await during(`SIGTERM of ${id.replace(/-\d+$/, '')}`, () => world.crew.restart(id))
      say(`${id} restarted`)
      if (code !== 0) violated(`${id} ended with ${code} when it was asked to stop`)
      await pause(1_000 + random() * 2_000)
    }
    for (const server of ['kafka-1', 'kafka-2', 'kafka-3', 'postgres', 'redis', 'registry'] as const) {
      await during(`restart of ${server.replace(/-\d+$/, '')}`, async () => {
        await world.stack.control.stop(server)
        await world.stack.control.start(server)
      })
      say(`${server} restarted`)
      await pause(2_000 + random() * 2_000)
    }
  }
}

/** What users feel of a room-state that leaves in order, of one that comes, and of one that dies. */
export async function handover({ world, random, say, times, during }: FaultContext): Promise<void> {
  for (let i = 0; i < times; i++) {
    const ids = world.crew.ids('room-state')
    const id = ids[Math.floor(random() * ids.length)]!
    const process = world.system.process(id)
    say(`${i + 1} of ${times}: ${id} leaves and comes back, dies and comes back`)
    await world.crew.hold(id, async () => {
      await during('room-state leaves in order', async () => {
        await process.stop()
        await pause(4_000)
      })
      await during('room-state joins', async () => {
        await process.start()
        await pause(4_000)
      })
      await during('SIGKILL of room-state', async () => {
        await process.kill()
        await pause(12_000)
      })
      await during('room-state joins', async () => {
        await process.start()
        await pause(4_000)
      })
    })
  }
}
