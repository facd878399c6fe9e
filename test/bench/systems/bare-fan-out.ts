import { HOST } from '../../../deploy/local/config.ts'
import { pickFreePorts } from '../../../deploy/local/ports.ts'
import type { LocalProcess } from '../../../deploy/local/process.ts'
import type { World } from '../world.ts'
import type { System } from './system.ts'

/** uWebSockets.js `publish` and nothing else: one process, nothing stored, nobody asked who he is. */
export function bareFanOut(world: World): System & { readonly url: () => string } {
  let peer: LocalProcess | undefined
  let url = ''
  return {
    name: 'bare fan-out',
    url: () => url,
    async start() {
      const [port = 0] = await pickFreePorts(1)
      peer = await world.startPeer('fan-out', 'fan-out.ts', port, {})
      url = `ws://${HOST}:${port}`
    },
    async stop() {
      await peer?.stop()
    },
    async openRooms(count, prefix) {
      const links = (who: string) => Array.from({ length: count }, (_, i) => ({ roomId: `${prefix}-${i}`, userId: `${who}-${prefix}-${i}`, url, token: '' }))
      return { senders: { protocol: 'plain', links: links('c') }, receivers: { protocol: 'plain', links: links('v') } }
    },
    pids: () => new Map([['fan-out', peer!.pid!]]),
  }
}
