import { strict as assert } from 'node:assert'
import type { Person, Seat } from './person.ts'
import type { Stage } from './stage.ts'

/** A job, a dispute about it, and a mediator who comes, resolves and goes. */
export async function dispute(stage: Stage): Promise<void> {
  stage.chapter('A job, and a dispute about it')
  const jobId = `job-${stage.run}`
  const [client, provider, mediator] = await stage.step('a client, a provider and a mediator connect', () =>
    Promise.all([stage.person('client', { edge: 1 }), stage.person('provider', { edge: 2 }), stage.person('mediator', { edge: 2 })]),
  )
  await stage.step('POST /jobs/create makes a job and its chat', async () => {
    const { chatId } = await stage.api('client', 'POST', '/jobs/create', { body: { jobId, clientId: client.userId, providerId: provider.userId } })
    const seats = await bothIn(stage, [client, provider], chatId)
    await seats[0]!.room.send('The wall is still wet').done
    await seats[1]!.room.send('It will dry').done
  })
  const roomId = await stage.step('POST /jobs/:id/dispute opens a room of its own', async () => {
    const { chatId } = await stage.api('client', 'POST', `/jobs/${jobId}/dispute`)
    const seats = await bothIn(stage, [client, provider], chatId)
    await seats[0]!.room.send('It does not dry').done
    return chatId as string
  })
  const [c, p] = [client.seat(roomId), provider.seat(roomId)]
  await stage.step('a mediator who was not invited is not let in', () => assert.rejects(mediator.client.acceptInvitation(roomId), { code: 'not_invited' }))
  await stage.step('the client invites him; the job says so, and he finds the invitation', async () => {
    await c.room.inviteMediator(mediator.userId)
    await stage.until(async () => (await stage.api('client', 'GET', `/jobs/${jobId}`)).lsm_invited === true, 'lsm_invited does not become true')
    const { invitations } = await stage.api('mediator', 'GET', '/me/invitations')
    assert.equal(invitations.length, 1)
  })
  const m = await stage.step('he accepts; three people are in the room, and he sees what was said', async () => {
    const { event } = await mediator.client.acceptInvitation(roomId)
    assert.equal(event?.event, 'participantAdded')
    const seat = mediator.join(roomId)
    await stage.until(() => seat.room.phase === 'live', 'the mediator is not in')
    assert.deepEqual([...seat.participants].sort(), [client, mediator, provider].map(({ userId }) => userId).sort())
    assert.deepEqual(seat.events, c.events)
    await seat.room.send('The provider paints it again').done
    return seat
  })
  await stage.step('he resolves it: he is taken out, the room is closed', () => resolve(stage, m, [c, p]))
  await stage.step('the record stays', async () => {
    await stage.until(async () => (await stage.api('provider', 'GET', `/jobs/${jobId}`)).resolved === true, 'the job does not say that it is resolved')
    const { messages } = await stage.api('client', 'GET', `/chat/${roomId}/messages?after=0`)
    assert.deepEqual(messages.map((one: { content: string }) => one.content), ['It does not dry', 'The provider paints it again'])
    await assert.rejects(stage.api('mediator', 'GET', `/chat/${roomId}/messages?after=0`), /403/)
  })
}

async function bothIn(stage: Stage, people: readonly Person[], roomId: string): Promise<Seat[]> {
  const seats = people.map((person) => person.join(roomId))
  await stage.until(() => seats.every(({ room }) => room.phase === 'live'), 'they are not in')
  return seats
}

async function resolve(stage: Stage, m: Seat, sides: readonly Seat[]): Promise<void> {
  await m.room.resolveDispute('Painted again by Friday')
  await stage.until(() => m.leftBy !== undefined, 'the mediator is still in')
  for (const { events } of sides) {
    await stage.until(() => events.some((e) => e.type === 'roomUpdated' && e.event === 'roomClosed'), 'the room did not close')
    assert.deepEqual(events.slice(-2).map((e) => e.type === 'roomUpdated' && e.event), ['participantRemoved', 'roomClosed'])
  }
  await assert.rejects(sides[0]!.room.send('Good').done, { code: 'room_read_only' })
}
