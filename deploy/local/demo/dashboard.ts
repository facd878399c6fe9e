import { strict as assert } from 'node:assert'
import type { Person } from './person.ts'
import type { Stage } from './stage.ts'

const ORDERS = 12

/** A vendor's list of many orders on two devices, and what reaches him while he is away. */
export async function dashboard(stage: Stage): Promise<void> {
  stage.chapter("A vendor's dashboard, and a push while he is away")
  const orderId = (nr: number) => `dash-${stage.run}-${nr}`
  const accept = (nr: number) => stage.publish('order.accepted', { orderId: orderId(nr), customerId: stage.userId('guest'), vendorId: stage.userId('shop') })
  await stage.step(`${ORDERS} orders are accepted`, async () => {
    for (let nr = 1; nr <= ORDERS; nr++) await accept(nr)
    await stage.until(async () => (await stage.api('shop', 'GET', '/me/inbox')).totals.chats === ORDERS, 'not all of them are in the list')
  })
  const [till, phone] = await stage.step('one socket and one sync bring them all, on the till and on the phone', async () => {
    const devices = [await stage.device('shop', 'till', 1), await stage.device('shop', 'phone', 2)] as const
    for (const { client } of devices) assert.equal(client.inbox.chats.length, ORDERS)
    return devices
  })
  await stage.step('the next order is accepted: both have it at once', async () => {
    await accept(ORDERS + 1)
    await inBoth(stage, [till, phone], (device) => device.client.inbox.chats[0]?.roomId === orderId(ORDERS + 1))
  })
  const guest = await stage.person('guest', { edge: 1 })
  const room = guest.join(orderId(3)).room
  const { messageIndex } = await stage.step('the customer writes in order 3: it goes to the top, with one unread', async () => {
    await stage.until(() => room.phase === 'live', 'the customer is not in')
    const sent = await room.send('Without onions, please').done
    await inBoth(stage, [till, phone], ({ client: { inbox } }) => inbox.chats[0]?.roomId === orderId(3) && inbox.chats[0].unread === 1 && inbox.totals.unread === 1)
    return sent
  })
  await stage.step('read on the phone, the count clears on the till', async () => {
    const seat = phone.join(orderId(3))
    await stage.until(() => seat.room.phase === 'live' && seat.events.length === 2, 'the phone has not the message')
    seat.room.markSeen(messageIndex)
    await inBoth(stage, [till, phone], ({ client }) => client.inbox.totals.unread === 0)
  })
  await stage.step('he mutes order 1 on the till, and goes home', async () => {
    await till.client.inbox.mute(orderId(1))
    await inBoth(stage, [phone], ({ client }) => (client.inbox.chats.find((chat) => chat.roomId === orderId(1))?.mutedUntilMs ?? 0) > 0)
    await Promise.all([till, phone].map(({ client }) => client.close()))
  })
  await away(stage, guest, orderId)
}

async function away(stage: Stage, guest: Person, orderId: (nr: number) => string): Promise<void> {
  const seats = [1, 2].map((nr) => guest.join(orderId(nr)))
  await stage.step('two messages in order 2, one in the muted order 1: after a grace of 5 s one push, and no other', async () => {
    await stage.until(() => seats.every(({ room }) => room.phase === 'live'), 'the customer is not in')
    const [muted, other] = seats
    await muted!.room.send('Hello?').done
    for (const text of ['Is somebody there?', 'It is urgent']) await other!.room.send(text).done
    await stage.until(async () => (await unread(stage))[0]?.count === 2, 'there is no notification')
    assert.equal((await unread(stage)).length, 1)
    const push = await stage.push('shop', ({ type, roomId }) => type === 'notification' && roomId === orderId(2))
    if (push) assert.deepEqual([push.count, push.badge], [2, 3])
  })
  await stage.step('he reads on his phone: the notification is read, and the banner is cleared', async () => {
    const phone = await stage.device('shop', 'phone', 2)
    assert.equal(phone.client.inbox.totals.unread, 3)
    const seat = phone.join(orderId(2))
    await stage.until(() => seat.room.phase === 'live' && seat.events.length === 3, 'the phone is not in')
    seat.room.markSeen(2)
    await stage.until(async () => (await unread(stage)).length === 0, 'the notification is not read')
    const cleared = await stage.push('shop', ({ type, roomId }) => type === 'cleared' && roomId === orderId(2))
    if (cleared) assert.equal(cleared.badge, 1)
    await phone.client.close()
  })
}

const unread = async (stage: Stage): Promise<readonly { count: number; roomId: string }[]> => (await stage.api('shop', 'GET', '/me/notifications?unread=true')).notifications

async function inBoth(stage: Stage, devices: readonly Person[], isSo: (device: Person) => boolean): Promise<void> {
  await stage.until(() => devices.every(isSo), 'not on every device')
}
