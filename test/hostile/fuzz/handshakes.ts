import fc from 'fast-check'
import { errorCatalogue, type ErrorCode } from '#libs/domain/errors.ts'
import type { System } from '../../support/system.ts'
import { portOf } from '../jwt/matrix.ts'
import { rawRequest, upgradeHeaders } from '../raw-http.ts'
import { inParallel, Report } from '../report.ts'

const word = fc.oneof(
  fc.constantFrom('', 'order-1', '%', '%zz', '%00', '%c3%28', '%F0%9F%98%80', '..%2f..', '1e3', '-1', '9'.repeat(15), '9'.repeat(16), '__proto__', 'chat.v1', 'bearer.', 'bearer.x.y.z', '*', ',', ', ,', ';', '"'),
  fc.string({ unit: fc.constantFrom(...'abcXYZ019-._~!$\'()*+,;:@/?%=&'), maxLength: 60 }),
)
const path = fc.constantFrom('/chat', '/ws/chat', '/chat/', '//chat', '/%63hat', '/CHAT', '/chat/../ws/chat', '/', '/ws', '*')
const query = fc.array(fc.tuple(fc.constantFrom('orderId', 'roomId', 'since', 'token', 'user_id', 'x', '', '__proto__', 'orderId[]'), word), { maxLength: 5 })
const header = fc.tuple(fc.constantFrom('Authorization', 'Origin', 'Sec-WebSocket-Protocol', 'Sec-WebSocket-Extensions', 'Sec-WebSocket-Key', 'Cookie', 'X-Forwarded-For', 'Content-Length', 'X'), word)
type Request = { readonly path: string; readonly headers: readonly (readonly [string, string])[] }

const request: fc.Arbitrary<Request> = fc.record({ path, query, headers: fc.array(header, { maxLength: 6 }), isUpgrade: fc.boolean(), hasToken: fc.boolean() }).map((made) => ({
  path: `${made.path}${made.query.length === 0 ? '' : `?${made.query.map(([name, text]) => `${name}=${text}`).join('&')}`}`,
  headers: [...(made.hasToken ? [['Authorization', 'TOKEN'] as const] : []), ...(made.isUpgrade ? upgradeHeaders : []), ...made.headers],
}))

/** Upgrades and plain GETs of any shape: each gets a documented answer, and the edge lives. */
export async function fuzzHandshakes(system: System, count: number, seed: number): Promise<Report> {
  const report = new Report('fuzz')
  const token = await system.token('fuzzer')
  const byStatus: Record<string, number> = {}
  const requests = fc.sample(request, { numRuns: count, seed })
  const wrong = await inParallel(requests, 16, async ({ path, headers }) => {
    const { status, body, socket } = await rawRequest(portOf(system), path, headers.map(([name, text]) => [name, text === 'TOKEN' ? `Bearer ${token}` : text]))
    socket.destroy()
    byStatus[status] = (byStatus[status] ?? 0) + 1
    const fault = faultOf(status, body)
    return fault === undefined ? [] : [`${fault} for ${JSON.stringify({ path, headers }).slice(0, 300)}`]
  })
  report.none('handshakes of any shape: a documented answer', wrong.flat(), `${count} requests: ${JSON.stringify(byStatus)}`)
  return report
}

function faultOf(status: number, body: string): string | undefined {
  // uWebSockets.js refuses what is no HTTP, and a body that a GET announces and never sends gets no answer in time.
  if (status === 101 || status === 0 || ((status === 400 || status === 505) && !body.startsWith('{'))) return undefined
  try {
    const { code } = JSON.parse(body) as { code: ErrorCode }
    return errorCatalogue[code].httpStatus === status && code !== 'internal' ? undefined : `${status} ${code}`
  } catch {
    return `${status} ${body.slice(0, 60)}`
  }
}
