import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { signDevToken } from '#libs/auth/dev-key.ts'
import { ChatClientError, createChatClient, type NewMessageFrame, type Room, type RoomEventFrame } from '#libs/client/index.ts'
import { HOST, servicePortsFromEnv } from './config.ts'
import { eventLine } from './event-line.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER } from './service-env.ts'

/** `npm run chat`: a room in a terminal. What is typed is sent, unless it begins with a slash; Ctrl-D leaves. */
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

/** At the end, for what is not answered yet. */
const END_WAIT_MS = 5_000
const HELP = '/reply <seq> <text>   /edit <seq> <text>   /delete <seq>   /react <seq> <emoji>   /unreact <seq> <emoji>   /invite <user>   /leave   /resolve <note>'

const lineOf = (event: RoomEventFrame): string => `${String(event.seq).padStart(5)}  ${new Date(event.timestamp).toISOString().slice(11, 19)}  ${eventLine(event)}`

/** What is typed, done. How it ends is told by the events; a refusal by its code. */
async function obey(line: string, room: Room, messages: ReadonlyMap<number, NewMessageFrame>, user: string): Promise<void> {
  const [, command, ...rest] = /^\/(\w+)\s*(.*)$/.exec(line) ?? []
  if (command === undefined) return void (await room.send(line).done)
  const [text = ''] = rest
  const [seq = '', ...words] = text.split(/\s+/)
  const target = () => {
    const messageId = messages.get(Number(seq))?.messageId
    if (messageId === undefined) throw new ChatClientError('message_not_found')
    return messageId
  }
  const tail = words.join(' ')
  const commands: Record<string, () => Promise<unknown>> = {
    reply: () => room.send(tail, { replyTo: target() }).done,
    edit: () => room.edit(target(), tail),
    delete: () => room.delete(target()),
    react: () => room.react(target(), tail),
    unreact: () => room.react(target(), tail, false),
    invite: () => room.inviteMediator(text),
    leave: () => room.removeParticipant(user),
    resolve: () => room.resolveDispute(text || undefined),
  }
  if (Object.hasOwn(commands, command)) await commands[command]!()
  else console.log(HELP)
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
  const messages = new Map<number, NewMessageFrame>()
  room.on('event', (event) => {
    console.log(lineOf(event))
    if (event.type !== 'newMessage') return
    messages.set(event.seq, event)
    // Whoever has it on the screen has seen it.
    room.markSeen(event.messageIndex)
  })
  room.on('typing', ({ userId, on }) => console.log(`(${userId} ${on ? 'is typing' : 'is not typing any more'})`))
  room.on('presence', ({ users }) => console.log(`(${users.map(({ userId, status }) => `${userId} is ${status}`).join(', ')})`))
  room.on('left', ({ code }) => console.log(`(left the room: ${code})`))
  client.on('state', (state) => {
    if (state.state !== 'online') console.log(`(${state.state}${'reason' in state ? `: ${JSON.stringify(state.reason)}` : ''})`)
    if (state.state === 'closed') process.exit(state.reason?.code === 'client_closed' ? 0 : 1)
  })
  void client.connect().catch(() => {
    // The state that came with it says why.
  })
  // What is typed before is kept: it may be about a message that is yet to come.
  await new Promise((resolve) => room.on('caughtUp', resolve))
  const asked = new Set<Promise<void>>()
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue
    const done = obey(line, room, messages, user).catch((err: ChatClientError) => console.log(`(${err.code}: ${err.message})`))
    asked.add(done)
    void done.then(() => asked.delete(done))
  }
  await Promise.race([Promise.all(asked), pause(END_WAIT_MS)])
  await client.close()
}

await new Command('chat')
  .description('Talk in a room')
  .requiredOption('--order <id>', 'the order, or the id of any other room')
  .option('--user <id>', 'whom a development token is made for', 'customer-1')
  .option('--role <role>', 'user or admin', 'user')
  .option('--token <jwt>', 'a token of your own instead')
  .option('--edge <n>', '1 or 2', parseEdge, 1)
  .option('--since <seq>', 'replay what is above this', parseSeq, 0)
  .action(chat)
  .parseAsync()
