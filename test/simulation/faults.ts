import type { Slot } from './parts/slot.ts'
import type { FaultName } from './plan.ts'
import type { Town } from './town.ts'
import { SESSION_TIMEOUT_MS } from './world/group.ts'

type Inject = (town: Town) => void

const someOf = ({ world }: Town, slots: readonly Slot[]): Slot | undefined => (slots.length > 0 ? world.random.pick(slots) : undefined)
const downMs = ({ world }: Town): number => world.random.next() * (world.random.chance(0.3) ? 8_000 : 1_000)

/** Short ones cost nothing; a long one makes a zombie: others take over, then it wakes up and goes on. */
const pauseMs = ({ world }: Town): number => (world.random.chance(0.5) ? world.random.between(50, 1_500) : SESSION_TIMEOUT_MS + world.random.between(100, 5_000))

const outageMs = ({ world }: Town): number => world.random.between(200, 6_000)

const inject: Readonly<Record<FaultName, Inject>> = {
  crashRoomState: (town) => someOf(town, town.slots.roomState)?.crash(downMs(town)),
  crashPersister: (town) => someOf(town, town.slots.persister)?.crash(downMs(town)),
  crashEdge: (town) => someOf(town, town.slots.edge)?.crash(downMs(town)),
  crashInbox: (town) => someOf(town, town.slots.inbox)?.crash(downMs(town)),
  pauseInbox: (town) => someOf(town, town.slots.inbox)?.pause(pauseMs(town)),
  crashBridge: (town) => someOf(town, town.slots.bridge)?.crash(downMs(town)),
  pauseRoomState: (town) => someOf(town, town.slots.roomState)?.pause(pauseMs(town)),
  pausePersister: (town) => someOf(town, town.slots.persister)?.pause(pauseMs(town)),
  pauseEdge: (town) => someOf(town, town.slots.edge)?.pause(pauseMs(town)),
  stopAny: (town) => someOf(town, Object.values(town.slots).flat())?.stop(downMs(town)),
  postgresDown: (town) => town.servers.postgres.goDown(outageMs(town)),
  redisDown: (town) => void (town.servers.redis.downUntilMs = town.world.nowMs + outageMs(town)),
  registryDown: (town) => void (town.servers.registry.downUntilMs = town.world.nowMs + outageMs(town)),
  sqsDown: (town) => void (town.servers.sqs.downUntilMs = town.world.nowMs + outageMs(town)),
  stallFetches: (town) => {
    const { edge, persister, roomState, inbox } = town.slots
    const process = someOf(town, town.world.random.pick([edge, persister, roomState, inbox]))?.process
    if (process) town.servers.kafka.stall(process, outageMs(town))
  },
  compact: (town) => town.servers.kafka.compact(),
  cutSocket: (town) => {
    const wires = [...town.servers.network.wires].filter((wire) => wire.isOpen)
    if (wires.length > 0) town.world.random.pick(wires).cut(town.world.random.chance(0.3))
  },
  stallSocket: (town) => {
    const wires = [...town.servers.network.wires].filter((wire) => wire.isOpen)
    if (wires.length > 0) town.world.random.pick(wires).stall(town.world.random.between(500, 10_000))
  },
  killApp: (town) => {
    const { world, sdkUsers } = town
    if (sdkUsers.length === 0) return
    const user = world.random.pick(sdkUsers)
    if (!user.process) return
    user.kill()
    world.act(downMs(town), `${user.userId} opens the app again`, () => {
      if (!user.process) user.start()
    })
  },
  offline: (town) => {
    const { world, sdkUsers, servers } = town
    const process = sdkUsers.length > 0 ? world.random.pick(sdkUsers).process : undefined
    if (!process) return
    servers.network.offline.add(process)
    for (const wire of [...servers.network.wires]) if (wire.client === process) wire.cut(world.random.chance(0.5))
    world.act(outageMs(town), `${process.name} is online again`, () => void servers.network.offline.delete(process))
  },
}

/** One fault of those that this run is about. */
export function injectFault(town: Town): void {
  const { faults } = town.plan
  if (Object.values(faults).every((weight) => weight === 0)) return
  const name = town.world.random.weighted(faults)
  town.world.note(`fault: ${name}`)
  inject[name](town)
}
