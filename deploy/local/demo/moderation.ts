import { strict as assert } from 'node:assert'
import { fileURLToPath } from 'node:url'
import { run } from '../run.ts'
import type { Person } from './person.ts'
import type { Stage } from './stage.ts'

const AUDIT = fileURLToPath(new URL('../../audit/main.ts', import.meta.url))

/** A report, a frozen room, a redaction, and the room's record. */
export async function moderation(stage: Stage): Promise<void> {
  const orderId = `mod-${stage.run}`
  stage.chapter('A report, a redaction, and the audit of the room')
  const [diner, cook] = await stage.step('an order; the two quarrel', async () => {
    await stage.publish('order.accepted', { orderId, customerId: stage.userId('diner'), vendorId: stage.userId('cook') })
    const people = [await stage.inOrder('diner', orderId, { edge: 1 }), await stage.inOrder('cook', orderId, { edge: 2 })] as const
    await people[0].seat(orderId).room.send('It is cold').done
    return people
  })
  const insult = await stage.step('one of them goes too far', () => cook.seat(orderId).room.send('So is your heart, you fool').done)
  await stage.step('the other reports it; he himself is not told', async () => {
    await diner.seat(orderId).room.reportMessage(insult.messageId, 'abuse', 'He calls me a fool')
    await stage.until(() => cook.seat(orderId).room.lastSeq === 4, 'seq 4 did not come')
    const event = cook.seat(orderId).events.at(-1)
    assert.equal(event?.type === 'roomUpdated' && event.event, 'private')
  })
  const asModerator = (method: string, path: string, body?: object) => stage.api('watch', method, path, { role: 'moderator', ...(body && { body }) })
  await stage.step('a moderator finds the report, and freezes the room', async () => {
    await stage.until(async () => (await asModerator('GET', `/moderation/reports?roomId=${orderId}`)).reports.length === 1, 'the report is not there')
    await asModerator('POST', `/moderation/rooms/${orderId}/freeze`, { on: true, reason: 'Calm down' })
    await stage.until(() => diner.seat(orderId).room.lastSeq === 5, 'the room is not frozen')
    await assert.rejects(diner.seat(orderId).room.send('Well!').done, { code: 'room_frozen' })
  })
  await stage.step('he redacts the message: nobody is shown it any more, not in the history either', async () => {
    await asModerator('POST', `/moderation/rooms/${orderId}/redactions`, { messageId: insult.messageId, reason: 'insult' })
    await asModerator('POST', `/moderation/rooms/${orderId}/freeze`, { on: false })
    await stage.until(() => [diner, cook].every((person) => person.seat(orderId).room.lastSeq === 7), 'the redaction did not come')
    await diner.seat(orderId).room.send('Thank you').done
    const { messages } = await stage.api('diner', 'GET', `/chat/${orderId}/messages?after=0`)
    assert.deepEqual(messages.map((one: { content: string | null }) => one.content), ['It is cold', null])
  })
  await stage.step("the room's hash chain is whole, in Postgres and in the log", async () => {
    await stage.until(async () => (await audit(stage, orderId)).ok, 'the chain is not whole')
  })
  await stage.step('the room as it was at seq 3: who was in, and what was said', () => past(stage, orderId, [diner, cook]))
}

async function past(stage: Stage, orderId: string, people: readonly Person[]): Promise<void> {
  const { ok, output } = await audit(stage, orderId, '--at', '3')
  assert.ok(ok, output)
  for (const { userId } of people) assert.ok(output.includes(userId), `${userId} is not in the audit`)
  for (const line of output.split('\n').filter((text) => text.trim() !== '')) stage.saw('audit', line)
}

const audit = (stage: Stage, roomId: string, ...more: readonly string[]) =>
  run(process.execPath, ['--disable-warning=ExperimentalWarning', AUDIT, '--room', roomId, ...more], { env: { ...(process.env as Record<string, string>), ...stage.serviceEnv } })
