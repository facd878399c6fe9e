import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errorCatalogue } from '#libs/domain/errors.ts'
import { ChatSocket } from '../../support/chat-socket.ts'
import type { System } from '../../support/system.ts'
import { rawRequest, upgradeHeaders } from '../raw-http.ts'
import { inParallel, Report } from '../report.ts'
import { type TokenCase, tokenCases, USER, type Verdict } from './cases.ts'
import type { Issuer } from './issuer.ts'

const carriers = ['header', 'subprotocol', 'query', 'frame'] as const
type Carrier = (typeof carriers)[number]
/** What was answered: `ok`, a code, or in words what should never be. */
type Met = { readonly verdict: string; readonly text: string }

export function portOf(system: System, edge = 1): number {
  return Number(system.process(`edge-${edge}`).env['EDGE_PORT'])
}

/** Every token by every way it can travel: refused with the documented code, no crash, nothing of it in a log. */
export async function runJwtMatrix(system: System, issuer: Issuer): Promise<Report> {
  const report = new Report('jwt')
  const trap = await startTrap()
  const cases = await tokenCases(issuer, trap.url)
  const attempts = cases.flatMap((one) => carriers.map((carrier) => ({ one, carrier })))
  const answers = await inParallel(attempts, 8, ({ one, carrier }) => meet(system, issuer, one.token, carrier))
  const wrong = attempts.flatMap(({ one, carrier }, i) => {
    const { verdict, text } = answers[i]!
    const expected = expectedOf(one, carrier)
    const told = one.token.length > 20 && text.includes(one.token.slice(-20)) ? ' and the answer has the token in it' : ''
    return verdict === expected && told === '' ? [] : [`${one.name} by ${carrier}: ${verdict} instead of ${expected}${told}`]
  })
  report.none('each token by each way meets its documented code', wrong, `${cases.length} tokens by ${carriers.length} ways`)
  report.none('who is not whom he says', await mismatches(system, issuer), 'user_id, another subject, another role, two ways at once')
  report.none('what is above the limit of the headers', await aboveHeaderLimit(system), 'answered 431 or closed, the edge lives')
  report.check('no jku, x5u or kid is fetched', trap.asked() === 0, `${trap.asked()} requests at a server that the tokens name`)
  report.none('no token is in any log', leakedIn(system, cases), `${cases.length} tokens, ${system.processes.size} logs at level debug`)
  report.figures['tokens'] = cases.length
  report.figures['attempts'] = attempts.length
  trap.close()
  return report
}

function expectedOf({ verdict, byHeader, byFrame }: TokenCase, carrier: Carrier): Verdict {
  return (carrier === 'header' ? byHeader : carrier === 'frame' ? byFrame : undefined) ?? verdict
}

async function meet(system: System, issuer: Issuer, token: string, carrier: Carrier): Promise<Met> {
  if (carrier === 'frame') return byFrame(system, issuer, token)
  if (carrier === 'header') return byUpgrade(system, '/ws/chat', [['Authorization', `Bearer ${token}`]])
  if (carrier === 'subprotocol') return byUpgrade(system, '/ws/chat', [['Sec-WebSocket-Protocol', `chat.v1, bearer.${token}`]])
  return byUpgrade(system, `/ws/chat?token=${encodeURIComponent(token)}`, [])
}

async function byUpgrade(system: System, path: string, headers: readonly (readonly [string, string])[]): Promise<Met> {
  const { status, headers: answered, body, socket } = await rawRequest(portOf(system), path, [...upgradeHeaders, ...headers])
  if (status === 101) {
    socket.destroy()
    const protocol = answered.get('sec-websocket-protocol') ?? ''
    return { verdict: protocol === '' || protocol === 'chat.v1' ? 'ok' : `ok, but the subprotocol ${protocol} is echoed`, text: protocol }
  }
  return { verdict: verdictOf(status, body), text: body }
}

/** The code, if status and body are what the catalogue says of it. */
function verdictOf(status: number, body: string): string {
  try {
    const { code, retriable, message } = JSON.parse(body) as { code: Exclude<Verdict, 'ok'>; retriable: boolean; message: string }
    const entry = errorCatalogue[code]
    return entry?.httpStatus === status && entry.retriable === retriable && typeof message === 'string' ? code : `HTTP ${status} ${body}`
  } catch {
    return `HTTP ${status} ${body.slice(0, 80)}`
  }
}

let sockets = 0
/** On a socket of its own: refused or not, it must go on living with the token that it had. */
async function byFrame(system: System, issuer: Issuer, token: string): Promise<Met> {
  const socket = await ChatSocket.connect(system.edgeUrl(1), { token: await issuer.token(USER, { jti: `socket-${sockets++}` }) })
  try {
    const reply = await socket.request({ type: 'authenticate', token })
    const after = await socket.request({ type: 'ping' })
    const verdict = reply.type === 'ack' ? 'ok' : (reply['code'] as string)
    return { verdict: after.type === 'ack' ? verdict : `${verdict}, then ${JSON.stringify(after)}`, text: JSON.stringify(reply) }
  } finally {
    socket.terminate()
  }
}

async function mismatches(system: System, issuer: Issuer): Promise<string[]> {
  const [mine, admin, others] = await Promise.all([issuer.token(USER), issuer.token(USER, { role: 'admin' }), issuer.token('somebody-else')])
  const bearer = (token: string) => [['Authorization', `Bearer ${token}`]] as const
  const tries: [name: string, met: Promise<Met>, expected: Verdict][] = [
    ['user_id of another', byUpgrade(system, '/ws/chat?user_id=somebody-else', bearer(mine)), 'user_id_mismatch'],
    ['user_id in another case', byUpgrade(system, '/ws/chat?user_id=Customer', bearer(mine)), 'user_id_mismatch'],
    ['user_id empty', byUpgrade(system, '/ws/chat?user_id=', bearer(mine)), 'user_id_mismatch'],
    ['user_id twice, the second of another', byUpgrade(system, '/ws/chat?user_id=customer&user_id=somebody-else', bearer(mine)), 'user_id_mismatch'],
    ['user_id of another by subprotocol', byUpgrade(system, '/ws/chat?user_id=x', [['Sec-WebSocket-Protocol', `bearer.${mine}`]]), 'user_id_mismatch'],
    ['user_id of another by query', byUpgrade(system, `/ws/chat?user_id=x&token=${mine}`, []), 'user_id_mismatch'],
    ['the pid is the user', byUpgrade(system, `/ws/chat?user_id=customer&token=${await issuer.token('x', { pid: USER })}`, []), 'ok'],
    ['the sub beside a pid is not', byUpgrade(system, `/ws/chat?user_id=x&token=${await issuer.token('x', { pid: USER })}`, []), 'user_id_mismatch'],
    ['a bad header counts before a good query', byUpgrade(system, `/ws/chat?token=${mine}`, bearer('garbage')), 'token_invalid'],
    ['a header of another scheme counts before a good query', byUpgrade(system, `/ws/chat?token=${mine}`, [['Authorization', 'Basic eDp5']]), 'token_missing'],
    ['a bad subprotocol counts before a good query', byUpgrade(system, `/ws/chat?token=${mine}`, [['Sec-WebSocket-Protocol', 'bearer.garbage']]), 'token_invalid'],
    ['a good header counts before a bad query', byUpgrade(system, '/ws/chat?token=garbage', bearer(mine)), 'ok'],
    ['authenticate as another', byFrame(system, issuer, others), 'token_invalid'],
    ['authenticate as oneself, as admin', byFrame(system, issuer, admin), 'token_invalid'],
  ]
  const wrong = await Promise.all(tries.map(async ([name, met, expected]) => ({ name, expected, verdict: (await met).verdict })))
  return wrong.filter(({ verdict, expected }) => verdict !== expected).map(({ name, verdict, expected }) => `${name}: ${verdict} instead of ${expected}`)
}

async function aboveHeaderLimit(system: System): Promise<string[]> {
  const limit = Number(system.process('edge-1').env['UWS_HTTP_MAX_HEADERS_SIZE'])
  const token = 'x'.repeat(limit + 100)
  const tries: [string, readonly (readonly [string, string])[]][] = [
    ['/ws/chat', [['Authorization', `Bearer ${token}`]]],
    ['/ws/chat', [['Sec-WebSocket-Protocol', `chat.v1, bearer.${token}`]]],
    [`/ws/chat?token=${token}`, []],
  ]
  const answers = await Promise.all(tries.map(([path, headers]) => rawRequest(portOf(system), path, [...upgradeHeaders, ...headers])))
  return answers.flatMap(({ status, body }, i) => (status === 431 || status === 0 ? [] : [`way ${i + 1}: ${status} ${body.slice(0, 80)}`]))
}

/** Any piece of a token that only it has: a header or a payload may be that of a thousand others. */
function leakedIn(system: System, cases: readonly TokenCase[]): string[] {
  const pieces = new Set(cases.flatMap(({ token }) => token.split('.').slice(1).filter((part) => part.length >= 40).map((part) => part.slice(-40))))
  return [...system.processes.values()].flatMap((process) => {
    const log = process.log()
    const found = [...pieces].filter((piece) => log.includes(piece)).length
    return found === 0 && log.length > 0 ? [] : [`${process.id}: ${found} pieces of tokens in ${log.length} characters`]
  })
}

/** A server that forged tokens name as the place of their keys. Nobody may ever ask it. */
async function startTrap(): Promise<{ readonly url: string; asked(): number; close(): void }> {
  let asked = 0
  const server = createServer((_, res) => {
    asked++
    res.end('{"keys":[]}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked, close: () => server.close() }
}
