// One process of clients: plays its plan until it is told to be quiet, and writes down all that its users do and see.
import { createWriteStream, type WriteStream } from 'node:fs'
import type { HistoryEntry } from '../checker/history.ts'
import type { ClientOrder, ClientPlan, ClientStatus } from './client-plan.ts'
import { rawUser, sdkUser, type SimulatedUser } from './users.ts'

let file: WriteStream
let users: readonly SimulatedUser[] = []
let timers: NodeJS.Timeout[] = []
let sent = 0

function record(entry: HistoryEntry): void {
  file.write(`${JSON.stringify(entry)}\n`)
}

function start(plan: ClientPlan): void {
  file = createWriteStream(plan.historyFile)
  users = plan.users.flatMap((user) => (user.kind === 'raw' ? user.rooms.map((room) => rawUser(plan.edgeUrl, user, room, record)) : sdkUser(plan.edgeUrl, user, record)))
  timers = users.flatMap((user) => user.rooms.map((room) => talk(user, room)))
}

/** Whatever the answers take: who waits for them would not notice a pause. */
function talk(user: SimulatedUser, room: string): NodeJS.Timeout {
  let n = 0
  let skip = Math.random() * user.everyMs
  const stepMs = 20
  return setInterval(() => {
    skip -= stepMs
    if (skip > 0 || !user.isIn(room)) return
    skip += user.everyMs * (0.5 + Math.random())
    if (user.send(room, `${user.userId} says ${n++}`)) sent++
  }, stepMs)
}

function status(): ClientStatus {
  const seen = users.flatMap((user) => user.rooms.map((room) => [`${user.userId} in ${room}`, user.lastSeq(room)] as const))
  return { sent, unacked: users.reduce((sum, user) => sum + user.unacked, 0), seen: Object.fromEntries(seen), lists: Object.fromEntries(users.map((user) => [user.userId, user.listCursor])) }
}

function quiet(): void {
  for (const timer of timers) clearInterval(timer)
  for (const user of users) user.quiet()
}

async function stop(): Promise<void> {
  quiet()
  await Promise.all(users.map((user) => user.stop()))
  await new Promise((resolve) => file.end(resolve))
  process.exit(0)
}

process.on('message', (order: ClientOrder) => {
  if (order.do === 'start') start(order.plan)
  else if (order.do === 'quiet') quiet()
  else if (order.do === 'status') process.send!(status())
  else void stop()
})
process.on('disconnect', () => process.exit(1))
