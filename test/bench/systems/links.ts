import { signDevToken } from '#libs/auth/dev-key.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER } from '../../../deploy/local/service-env.ts'
import type { LinkSpec } from '../generator/messages.ts'
import type { World } from '../world.ts'

const TOKEN_TTL_S = 4 * 3_600

export const tokenOf = (world: Pick<World, 'devKeyFile'>, userId: string): Promise<string> =>
  signDevToken({ file: world.devKeyFile, issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, userId, role: 'user', ttlS: TOKEN_TTL_S })

/** Customer and vendor of each room on different instances; each instance has as many senders as receivers. */
export async function linksOf(world: Pick<World, 'devKeyFile'>, urls: readonly string[], count: number, prefix: string): Promise<{ senders: LinkSpec[]; receivers: LinkSpec[] }> {
  const link = async (who: 'c' | 'v', i: number): Promise<LinkSpec> => {
    const userId = `${who}-${prefix}-${i}`
    const url = urls[(i + (who === 'c' ? 0 : 1)) % urls.length]!
    return { roomId: `${prefix}-${i}`, userId, url, token: await tokenOf(world, userId) }
  }
  const rooms = Array.from({ length: count }, (_, i) => i)
  return { senders: await Promise.all(rooms.map((i) => link('c', i))), receivers: await Promise.all(rooms.map((i) => link('v', i))) }
}
