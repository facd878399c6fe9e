import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { UserId } from '#libs/domain/ids.ts'
import { statusOf } from '#libs/domain/presence.ts'
import type { MemoryLive } from './presence-memory.ts'
import { newWorld, type RigClient, RigNode } from './presence-rig.ts'

const user = (id: string) => id as UserId

const people = ['ann', 'cleo', 'dan'] as const
type Step =
  | { readonly do: 'open'; readonly node: number; readonly who: (typeof people)[number] }
  | { readonly do: 'close' | 'away' | 'back'; readonly device: number }
  | { readonly do: 'kill'; readonly node: number }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'down' | 'up' | 'wipe' | 'deaf' }

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('open' as const), node: fc.nat(2), who: fc.constantFrom(...people) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('close' as const, 'away' as const, 'back' as const), device: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), node: fc.nat(1) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(50, 400, 2_900, 3_100, 9_000, 21_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('down' as const, 'up' as const, 'wipe' as const, 'deaf' as const) }) },
)

test('whatever devices, edges and Redis do: 40 s after it, everybody sees of everybody what his devices make him', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { maxLength: 25 }), async (course) => {
      const town = newWorld()
      const { live, time } = town
      // The first one lives on; the others are replaced when they die.
      const nodes = [0, 1, 2].map((i) => new RigNode(town, `edge-${i}`))
      let devices: { readonly client: RigClient; readonly node: RigNode; readonly who: string; away: boolean }[] = []
      const viewers = [nodes[0]!.connect('bob', 'order-1'), nodes[0]!.connect('cleo', 'order-2'), nodes[0]!.connect('cleo', 'order-3'), nodes[0]!.connect('ann', 'order-2')]
      devices.push({ client: viewers[3]!, node: nodes[0]!, who: 'ann', away: false })
      let lives = nodes.length
      for (const step of course) {
        const device = 'device' in step ? devices[step.device % Math.max(1, devices.length)] : undefined
        if (step.do === 'open') devices.push({ client: nodes[step.node]!.connect(step.who, step.who === 'dan' ? 'order-3' : 'order-2'), node: nodes[step.node]!, who: step.who, away: false })
        else if (step.do === 'wait') await time.advance(step.ms)
        else if (step.do === 'kill') {
          const dead = nodes[step.node + 1]!
          dead.kill()
          devices = devices.filter(({ node }) => node !== dead)
          nodes[step.node + 1] = new RigNode(town, `edge-${++lives}`)
        } else if (step.do === 'wipe') live.wipe()
        else if (step.do === 'deaf') live.answersLost = true
        else if (step.do === 'down') {
          live.down = true
          for (const node of nodes) node.loseBus()
        } else if (step.do === 'up') recover(live, nodes)
        else if (device && step.do === 'close') {
          device.node.close(device.client.connection)
          devices = devices.filter((one) => one !== device)
        } else if (device) {
          device.away = step.do === 'away'
          await device.client.request({ type: 'setPresence', status: device.away ? 'away' : 'online' })
        }
      }
      recover(live, nodes)
      await time.advance(40_000)
      const expected = (who: string) => statusOf(devices.filter((device) => device.who === who).map(({ away }) => ({ status: away ? ('away' as const) : ('online' as const) })))
      for (const who of ['ann', 'dan']) expect([who, live.statusOf(user(who))]).toEqual([who, expected(who)])
      expect(viewers.slice(0, 3).map((viewer, i) => viewer.sees(i < 2 ? 'ann' : 'dan'))).toEqual([expected('ann'), expected('ann'), expected('dan')])
      expect([...live.users.keys()].toSorted()).toEqual(['bob', 'cleo', ...people.filter((who) => who !== 'cleo' && expected(who) !== 'offline')].toSorted())
    }),
    { numRuns: 150 },
  )
}, 60_000)

function recover(live: MemoryLive, nodes: readonly RigNode[]): void {
  live.answersLost = false
  if (!live.down) return
  live.down = false
  for (const node of nodes) node.realtime.regained()
}
