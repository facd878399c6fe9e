import type { SystemName, Systems } from '../bench.ts'
import type { World } from '../world.ts'
import { bareFanOut } from './bare-fan-out.ts'
import { OrderChat, type OrderChatOptions } from './order-chat.ts'
import { rawTwoHops } from './raw-two-hops.ts'
import type { System } from './system.ts'
import { usualBuild } from './usual-build.ts'

/** What is compared, by the names that --systems takes. */
export const systemNames = ['order-chat', 'rooms-only', 'raw', 'usual', 'fan-out'] as const satisfies readonly SystemName[]

/** Processes of `npm start` that a room needs. */
const ROOMS_ONLY = ['sqs-bridge', 'room-state', 'message-persister', 'edge-1', 'edge-2', 'api', 'relay'] as const

export function systemsOf(world: World, ours: OrderChatOptions, names: readonly SystemName[] = systemNames): Systems {
  const all: Record<SystemName, () => System> = {
    'order-chat': () => new OrderChat(world, ours),
    'rooms-only': () => new OrderChat(world, { ...ours, name: `${ours.name ?? 'ours'}-rooms`, only: ROOMS_ONLY }),
    raw: () => rawTwoHops(world),
    usual: () => usualBuild(world),
    'fan-out': () => bareFanOut(world),
  }
  return Object.fromEntries(names.map((name) => [name, all[name]()]))
}
