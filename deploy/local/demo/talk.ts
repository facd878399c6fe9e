import { strict as assert } from 'node:assert'
import type { MessageAck, NewMessageFrame } from '#libs/client/index.ts'
import type { Person, Seat } from './person.ts'
import type { Stage } from './stage.ts'

type Pair = { readonly stage: Stage; readonly roomId: string; readonly ann: Person; readonly ben: Person; readonly a: Seat; readonly b: Seat }

/** All that two people can do with each other: the direct room of Ann (edge 1) and Ben (edge 2). */
export async function talk(stage: Stage): Promise<void> {
  stage.chapter('Ann and Ben talk')
  const pair = await meet(stage)
  const question = await receipts(pair)
  await threadEditAndReaction(pair, question)
  await attachment(pair)
  await productCard(pair)
  await group(pair)
  await goodbye(pair)
}

async function meet(stage: Stage): Promise<Pair> {
  const [ann, ben] = await stage.step('Ann and Ben connect, each to another edge', () => Promise.all([stage.person('ann', { edge: 1 }), stage.person('ben', { edge: 2 })]))
  const roomId = await stage.step('order.created posts a card into their direct room; both join it', async () => {
    await stage.publish('order.created', { orderId: `order-${stage.run}`, customerId: ann.userId, vendorId: ben.userId })
    const made = await ann.client.createConversation({ kind: 'direct', participants: [ben.userId] })
    assert.equal((await ben.client.createConversation({ kind: 'direct', participants: [ann.userId] })).roomId, made.roomId)
    const seats = [ann.join(made.roomId), ben.join(made.roomId)]
    const hasCard = ({ events }: Seat) => events.some((e) => e.type === 'newMessage' && e.orderId === `order-${stage.run}`)
    await stage.until(() => seats.every(hasCard), 'there is no order card')
    return made.roomId
  })
  const pair = { stage, roomId, ann, ben, a: ann.seat(roomId), b: ben.seat(roomId) }
  const { a, b } = pair
  await stage.step('each sees that the other is there', () => stage.until(() => isThere(a, ben, 'online') && isThere(b, ann, 'online'), 'they do not see each other'))
  await stage.step('Ben puts his device away, and takes it up again', async () => {
    ben.client.setPresence('away')
    await stage.until(() => isThere(a, ben, 'away'), 'Ben is not shown as away')
    ben.client.setPresence('online')
    await stage.until(() => isThere(a, ben, 'online'), 'Ben is not shown as online')
  })
  return pair
}

const isThere = (seat: Seat, { userId }: Person, status: string): boolean => seat.presence.get(userId)?.status === status
const lastOf = ({ events }: Seat) => events.at(-1)
const messageAt = ({ events }: Seat, seq: number) => events.find((e): e is NewMessageFrame => e.type === 'newMessage' && e.seq === seq)

async function arrives({ stage }: Pick<Pair, 'stage'>, seat: Seat, seq: number): Promise<NewMessageFrame> {
  await stage.until(() => seat.room.lastSeq >= seq, `seq ${seq} did not arrive`)
  const message = messageAt(seat, seq)
  assert.ok(message, `seq ${seq} is no message`)
  return message
}

async function receipts(pair: Pair): Promise<MessageAck> {
  const { stage, ann, ben, a, b } = pair
  await stage.step('Ann types; Ben sees it', async () => {
    a.room.typing(true)
    await stage.until(() => b.typing.has(ann.userId), 'Ben does not see that Ann types')
  })
  const question = await stage.step('Ann sends it; it is unread at Ben', async () => {
    const unread = b.room.unread
    const ack = await a.room.send('Which soup is it today?').done
    await arrives(pair, b, ack.seq)
    await stage.until(() => !b.typing.has(ann.userId), 'Ann is shown as typing still')
    assert.equal(b.room.unread, unread + 1)
    return ack
  })
  const movedTo = (field: 'delivered' | 'seen') => () => a.events.some((e) => e.type === 'roomUpdated' && e.event === 'receiptMoved' && e.userId === ben.userId && e[field] === question.messageIndex)
  await stage.step("it is delivered to Ben's device: Ann sees it", async () => {
    b.room.markDelivered(question.messageIndex)
    await stage.until(movedTo('delivered'), 'Ann does not see that it was delivered')
  })
  await stage.step('Ben reads it: Ann sees it, and nothing is unread at Ben', async () => {
    b.room.markSeen(question.messageIndex)
    await stage.until(movedTo('seen'), 'Ann does not see that it was seen')
    assert.equal(b.room.unread, 0)
  })
  return question
}

async function threadEditAndReaction(pair: Pair, question: MessageAck): Promise<void> {
  const { stage, a, b, ann } = pair
  const answer = await stage.step('Ben answers in a thread, and mentions Ann', async () => {
    const ack = await b.room.send('Tomatoe', { replyTo: question.messageId, mentions: [ann.userId] }).done
    const message = await arrives(pair, a, ack.seq)
    assert.deepEqual([message.replyTo, message.replyToSeq, message.mentions], [question.messageId, question.seq, [ann.userId]])
    assert.deepEqual(messageAt(b, ack.seq), message)
    return ack
  })
  await stage.step('Ben edits it; both see the same event', async () => {
    const { seq } = await b.room.edit(answer.messageId, 'Tomato')
    await stage.until(() => a.room.lastSeq >= seq, 'the edit did not come')
    const edit = lastOf(a)
    assert.equal(edit?.type === 'roomUpdated' && edit.event === 'messageEdited' && edit.content, 'Tomato')
    assert.deepEqual(lastOf(b), edit)
  })
  await stage.step('Ann reacts, and takes it back', async () => {
    await a.room.react(answer.messageId, '🍅')
    const { seq } = await a.room.react(answer.messageId, '🍅', false)
    await stage.until(() => b.room.lastSeq >= seq, 'the reaction did not come')
    assert.deepEqual(lastOf(b), lastOf(a))
  })
  await stage.step('Ben sends something by mistake and deletes it; who reads it later finds nothing of it', async () => {
    const wrong = await b.room.send('wrong window').done
    const { seq } = await b.room.delete(wrong.messageId)
    await stage.until(() => a.room.lastSeq >= seq, 'the deletion did not come')
    const { messages } = await history(pair, (list) => list.some((m) => m.seq === wrong.seq && m.deleted === true))
    assert.equal(messages.find((m) => m.seq === wrong.seq)?.content, null)
    assert.equal(messages.find((m) => m.seq === answer.seq)?.content, 'Tomato')
  })
}

type Listed = { readonly seq: number; readonly content: string | null; readonly deleted?: boolean }

/** As the api has it, once it has come as far. */
async function history({ stage, roomId }: Pair, isComplete: (messages: readonly Listed[]) => boolean): Promise<{ messages: readonly Listed[] }> {
  let page: { messages: readonly Listed[] } = { messages: [] }
  await stage.until(async () => {
    page = await stage.api('ann', 'GET', `/rooms/${roomId}/messages?after=0&limit=200`)
    return isComplete(page.messages)
  }, 'the history does not have it')
  return page
}

async function attachment(pair: Pair): Promise<void> {
  const { stage, roomId, a, b } = pair
  const file = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')
  const described = { name: 'pot.png', mimeType: 'image/png', bytes: file.length }
  const sent = await stage.step('Ann uploads a picture and sends it', async () => {
    const upload = await stage.api('ann', 'POST', `/rooms/${roomId}/attachments`, { body: described })
    const put = await fetch(upload.url, { method: 'PUT', headers: upload.headers, body: file })
    assert.equal(put.status, 200, `the store answered ${put.status}: ${await put.text()}`)
    const ack = await a.room.send('This one?', { messageType: 'image', attachments: [{ ...described, key: upload.key }] }).done
    await arrives(pair, b, ack.seq)
    return ack
  })
  await stage.step('Ben gets it; a stranger does not', async () => {
    const key = (await arrives(pair, b, sent.seq)).attachments?.[0]?.key
    assert.ok(key, 'the attachment has no key')
    const { url } = await stage.api('ben', 'GET', `/rooms/${roomId}/attachments/${encodeURIComponent(key)}`)
    assert.deepEqual(Buffer.from(await (await fetch(url)).arrayBuffer()), file)
    await assert.rejects(stage.api('stranger', 'GET', `/rooms/${roomId}/attachments/${encodeURIComponent(key)}`), /403/)
  })
}

async function productCard(pair: Pair): Promise<void> {
  const { stage, ann, a, b, ben } = pair
  const productId = `soup-${stage.run}`
  const update = (price: string, available: boolean) => stage.publish('product.updated', { productId, name: 'Tomato soup', price, currency: 'EUR', available })
  await stage.step('Ben shows a product: Ann watches its card', async () => {
    await update('6.50', true)
    const { seq } = await b.room.send('', { messageType: 'productCard', productId }).done
    const message = await arrives(pair, a, seq)
    for (const { client } of [ann, ben]) client.watchProducts([message.productId!])
    await stage.until(() => [ann, ben].every(({ cards }) => cards.get(productId)?.priceMinor === 650), 'there is no card')
  })
  await stage.step('product.updated through SQS; the card changes where it is shown', async () => {
    await update('5.90', false)
    const isNew = ({ cards }: Person) => cards.get(productId)?.priceMinor === 590 && cards.get(productId)?.available === false
    await stage.until(() => [ann, ben].every(isNew), 'the card does not change')
  })
}

async function group(pair: Pair): Promise<void> {
  const { stage, ann, ben, a, b } = pair
  const cem = await stage.step('Cem connects', () => stage.person('cem', { edge: 2 }))
  const roomId = await stage.step('Ann makes a group with Ben, in which newcomers see what comes after them; it is renamed', async () => {
    const made = await ann.client.createConversation({ kind: 'group', participants: [ben.userId], name: 'Lunch', history: 'fromJoin' })
    const seats = [ann.join(made.roomId), ben.join(made.roomId)]
    await stage.until(() => seats.every(({ room }) => room.phase === 'live'), 'they are not in')
    await seats[0]!.room.send('Only we two see this').done
    await seats[0]!.room.change({ name: 'Lunch at one' })
    return made.roomId
  })
  const c = await stage.step('Cem is added; he begins at his own coming in', async () => {
    const { seq } = await ann.seat(roomId).room.addParticipant(cem.userId)
    const seat = cem.join(roomId)
    await stage.until(() => seat.room.lastSeq >= seq, 'Cem is not in')
    assert.deepEqual(seat.events.map((e) => e.seq), [seq])
    return seat
  })
  const lifted = await block(pair, roomId, c)
  await stage.step('user.unblocked; they can talk again', async () => {
    await stage.publish('user.unblocked', { userId: ben.userId, blockedUserId: ann.userId })
    await lifted()
    const { seq } = await a.room.send('Still friends?').done
    assert.equal((await arrives(pair, b, seq)).hidden, undefined)
  })
}

/** @returns waits until it is lifted in both rooms */
async function block(pair: Pair, groupId: string, c: Seat): Promise<() => Promise<void>> {
  const { stage, ann, ben, a, b } = pair
  const blocks = (seat: Seat, on: boolean) => seat.events.filter((e) => e.type === 'roomUpdated' && e.event === 'blockSet' && e.on === on).length
  const inGroup = ben.seat(groupId)
  await stage.step('user.blocked: Ben has blocked Ann. Between the two nobody can write, and neither is told why', async () => {
    await stage.publish('user.blocked', { userId: ben.userId, blockedUserId: ann.userId })
    await stage.until(() => blocks(b, true) === 1, 'the block does not come')
    assert.equal(blocks(a, true), 0, 'Ann was told')
    for (const seat of [a, b]) await assert.rejects(seat.room.send('Hello?').done, { code: 'message_not_allowed' })
  })
  await stage.step('in the group Ann still can; to Ben it is marked, to Cem it is not', async () => {
    await stage.until(() => blocks(inGroup, true) === 1, 'the block does not reach the group')
    const { seq } = await ann.seat(groupId).room.send('Is anybody hungry?').done
    assert.equal((await arrives(pair, inGroup, seq)).hidden, true)
    assert.equal((await arrives(pair, c, seq)).hidden, undefined)
  })
  return () => stage.until(() => blocks(b, false) === 1 && blocks(inGroup, false) === 1, 'the block is not lifted')
}

async function goodbye({ stage, ben, a }: Pair): Promise<void> {
  await stage.step('Ben goes; some seconds later Ann sees that he is offline, and since when', async () => {
    await ben.client.close()
    await stage.until(() => isThere(a, ben, 'offline'), 'Ben is not shown as offline')
    assert.ok(a.presence.get(ben.userId)?.lastSeenMs, 'nobody knows since when')
  })
}
