import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { signDevToken } from '#libs/auth/dev-key.ts'
import { createChatClient, type RoomEventFrame } from '#libs/client/index.ts'
import { HOST, servicePortsFromEnv } from './config.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER } from './service-env.ts'

/** `npm run chat`: an order's room in a terminal. What is typed is sent; Ctrl-D leaves. */
const root = fileURLToPath(new URL('../../', import.meta.url))

type ChatOptions = { order: string; user: string; role: string; edge: number; token?: string; since: number }

function parseEdge(raw: string): number {
  if (raw !== '1' && raw !== '2') throw new InvalidArgumentError('1 or 2')
  return Number(raw)
}

function parseSeq(raw: string): number {
  if (!/^\d{1,15}$/.test(raw)) throw new InvalidArgumentError('a seq, from 0')
  return Number(raw)
}

function lineOf(event: RoomEventFrame): string {
  const at = `${String(event.seq).padStart(5)}  ${new Date(event.timestamp).toISOString().slice(11, 19)}`
  if (event.type === 'newMessage') return `${at}  ${event.senderId}: ${event.content ?? '(erased)'}`
  const { type: _, roomId: __, seq: ___, timestamp: ____, event: what, ...rest } = event
  return `${at}  * ${what} ${JSON.stringify(rest)}`
}

async function chat({ order, user, role, edge, token, since }: ChatOptions): Promise<void> {
  const { env } = process
  const port = servicePortsFromEnv(env).edge[edge - 1]
  const file = path.resolve(root, env['AUTH_DEV_KEY_FILE'] || '.local/dev-key.json')
  const client = createChatClient({
    url: `ws://${HOST}:${port}/chat`,
    orderId: order,
    token: async () => token ?? signDevToken({ file, issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, userId: user, role, ttlS: 3_600 }),
  })
  const room = client.join(order, { since })
  room.on('event', (event) => console.log(lineOf(event)))
  room.on('left', ({ code }) => console.log(`(left the room: ${code})`))
  client.on('failed', ({ content, error }) => console.log(`(not sent, ${error.code}: ${content})`))
  client.on('state', (state) => {
    if (state.state !== 'online') console.log(`(${state.state}${'reason' in state ? `: ${JSON.stringify(state.reason)}` : ''})`)
    if (state.state === 'closed') process.exit(state.reason ? 1 : 0)
  })
  void client.connect().catch(() => {
    // The state that came with it says why.
  })
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue
    // How it ends is told by the events above.
    room.send(line).done.catch(() => {})
  }
  await client.close()
}

await new Command('chat')
  .description("Talk in an order's room")
  .requiredOption('--order <id>', 'the order')
  .option('--user <id>', 'whom a development token is made for', 'customer-1')
  .option('--role <role>', 'user or admin', 'user')
  .option('--token <jwt>', 'a token of your own instead')
  .option('--edge <n>', '1 or 2', parseEdge, 1)
  .option('--since <seq>', 'replay what is above this', parseSeq, 0)
  .action(chat)
  .parseAsync()
