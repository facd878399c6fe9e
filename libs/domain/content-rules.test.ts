import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contentRefusal, floodWaitMs, repeatDigest, withRepeat } from './content-rules.ts'
import { wordMatcher } from './content-words.ts'
import { decide } from './decide.ts'
import { evolve } from './evolve.ts'
import { clientMessageIdOf, messageIdOf, type RoomId, type UserId } from './ids.ts'
import type { RoomCommandBody, RoomInput } from './inputs.ts'
import { type ContentRules, defaultRoomLimits, DUPLICATES_MAX_MAX, DUPLICATES_WINDOW_MAX_MS, type RoomLimits } from './limits.ts'
import { type Entry, newRoom, type RoomState } from './room.ts'

const rules = (more: Partial<ContentRules>): RoomLimits => ({ ...defaultRoomLimits, content: { ...defaultRoomLimits.content, ...more } })
const banned = rules({ bannedWords: ['badword', 'kill', 'Scheiß', 'cash back', 'ass', 'плохо', '赌博', 'sh1t'] })
const linked = rules({ linkHosts: ['good.com', 'пример.рф'] })

describe('banned words', () => {
  test.each([
    'badword', 'BADWORD', 'a BadWord.', '"badword"', 'badword,badword', 'so:badword', 'my_badword_', '#badword',
    // Accents, compatibility forms, what is not seen
    'bádwörd', 'ｂａｄｗｏｒｄ', '𝐛𝐚𝐝𝐰𝐨𝐫𝐝', 'ⓑⓐⓓⓦⓞⓡⓓ', 'bad\u200bword', 'b\u00adadw\u2060ord', 'b\u0336a\u0336d\u0336w\u0336o\u0336r\u0336d', 'bad\ufe0fword', '\u202ebadword',
    // Digits, signs, foreign letters
    'b4dw0rd', '8adword', 'b@dword', 'b@dw0rd', 'bаdwоrd', 'bαdword', 'k1ll', 'ki||', 'k!ll', 'ki11', 'a$$', '@$$', '4ss', 'sh1t', 'плоxo',
    // Apart
    'b.a.d.w.o.r.d', 'b-adword', 'bad_word', 'b a d w o r d', 'b  a\nd w o r d', 'b, a, d, w, o, r, d', 'bad*word', 'b...adword',
    // Longer, with holes
    'baaaadword', 'badworddddd', 'asssss', 'b*dw*rd', 'k*ll',
    // As it is said elsewhere
    'SCHEISS', 'scheiss', 'Cash  Back', 'cash-back', 'cashback', 'ПЛОХО', 'плох0', '在线赌博网站',
  ])('%j is found', (text) => {
    expect(contentRefusal(text, banned)).toBe('content_not_allowed')
  })

  test.each([
    'class', 'assign it', 'glass', 'bass player', 'skill', 'killer', 'Kilimanjaro', 'scheißegal', 'badwords', 'a bad word', 'hass', 'assess', 'kil', 'as', 'as sure as', 'a shit', 'рot a bass',
    '455', '$455', '4.55', 'cost 1455 or 455', 'has 5 apples', 'was super', "it's as simple", 'a ss', 'неплохо', 'мне плохову', 'cash me back', 'back cash', '', '   ', '*ss', 'a**', 'skype me', 'k l', 'foo@ss.com',
  ])('%j passes', (text) => {
    expect(contentRefusal(text, banned, '{}')).toBeUndefined()
  })

  test('in a file name and a place, and in an edit as in a message', () => {
    const payload = JSON.stringify({ attachments: [{ name: 'b4dword.png' }, null, 7], location: { label: 'x' } })
    expect(contentRefusal('', banned, payload)).toBe('content_not_allowed')
    expect(contentRefusal('', banned, '{"location":{"label":"at the badword"}}')).toBe('content_not_allowed')
    expect(contentRefusal('', banned, 'no json')).toBeUndefined()
  })

  test('of any words, each is found as itself, in capitals, and between others, and none in a longer one', () => {
    const words = fc.uniqueArray(fc.stringMatching(/^[b-hj-np-rt-y]{2,8}$/), { minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(words, fc.nat(), (list, n) => {
        const has = wordMatcher(list)
        const word = list[n % list.length]!
        for (const text of [word, word.toUpperCase(), `1 ${word}!`, [...word].join(' '), [...word].join('-')]) expect(has(text), text).toBe(true)
        for (const text of [`ä${word}`, `${word}ä`]) expect(has(text), text).toBe(false)
      }),
    )
  })

  test('no text takes long, whatever was made for it', { timeout: 30_000 }, () => {
    const adversarial = Array.from({ length: 2_000 }, (_, i) => [...i.toString(2)].map((bit) => 'il'[Number(bit)]).join('') + 'x')
    const usual = Array.from({ length: 2_000 }, (_, i) => [...Math.imul(i + 1, 2_654_435_761).toString(36).slice(1)].map((char, n) => (n % 2 ? 'aeiou' : 'bdgklmnprst')[char.charCodeAt(0) % (n % 2 ? 5 : 11)]).join(''))
    for (const has of [wordMatcher(adversarial), wordMatcher(usual)]) {
      for (const unit of ['!', '!|', '*!', '*1', '1', '*', 'i*', '*i-', '! ', 'i.', 'il!1|', 'a\u0300', '\ufdfa', '\u2057']) {
        const startMs = performance.now()
        has(unit.repeat(20_000 / unit.length))
        expect(performance.now() - startMs, unit).toBeLessThan(500)
      }
    }
  })

  test('what is made of doubtful signs alone is not judged, and refused; what people write is', () => {
    const has = wordMatcher(Array.from({ length: 26 ** 2 }, (_, i) => `${String.fromCharCode(97 + (i % 26), 97 + Math.floor(i / 26))}${'il'.repeat(4)}x`))
    expect(has('*!'.repeat(2_000))).toBe(true)
    for (const unit of ['2*x*y + 3*a*b - (4*c*d) * 5*e ', '* **bold** and *it* here\n', 't h i s  i s  o u t ', '+49 151 1234 5678, ', 'haha !!! :) :D $$$ @@@ ']) expect(has(unit.repeat(4_000 / unit.length)), unit).toBe(false)
  })
})

describe('links', () => {
  test.each([
    'https://evil.com', 'see evil.com', 'EVIL.COM/x', 'evil.com:8080', 'see:evil.com', 'http://good.com@evil.com/', 'https://good.com.evil.com', 'notgood.com', 'http://evil.com\\@good.com', 'https:evil.com', '//evil.com/x',
    'evil。com', 'ｅｖｉｌ．ｃｏｍ', 'ev\u200bil.com', 'evil.xyz', 'www.evil.рф', '1.2.3.4', 'http://[::1]/', 'http://localhost', 'tg://resolve', 'me@evil.com', 'mailto:me@evil.com', '(evil.com)', 'good.com,evil.com', 'xn--80ak6aa92e.com', 'good.com evil.com', 'HTTPS://EVIL.COM.',
    'https://good.com/<https://evil.com>', 'https://good.com/"https://evil.com"', 'good.com/|evil.com', 'https://good.com/a«evil.com»', 'https://ev"il',
  ])('%j is refused', (text) => {
    expect(contentRefusal(text, linked)).toBe('link_not_allowed')
    expect(contentRefusal(text, rules({ linkHosts: undefined }))).toBeUndefined()
  })

  test.each(['https://good.com', 'good.com', 'shop.good.com/a.zip?x=y.com', 'https://GOOD.com:443/a.py', 'me@good.com', 'http://пример.рф/', 'xn--e1afmkfd.xn--p1ai', 'it is 3.50', 'v1.2', 'thanks...ok', 'ok.thanks', 'a.b.c', '5.5.2026', '://', 'x://', '1.2.3.400', 'https://good.com.', '(https://good.com)', '<https://good.com/a?b=c>', '"good.com"|"me@good.com"'])('%j passes', (text) => {
    expect(contentRefusal(text, linked)).toBeUndefined()
  })

  test('no text takes long, whatever was made for it', () => {
    for (const text of [`x://${'\u2057'.repeat(20_000)}a`, `a${'_'.repeat(20_000)}b`, `${'\u2488'.repeat(20_000)}com`, `${'a.'.repeat(10_000)}com`, `x://${':1'.repeat(10_000)}`, '://'.repeat(7_000), '@'.repeat(20_000)]) {
      const startMs = performance.now()
      contentRefusal(text, { ...linked, contentCharsMax: 20_000 })
      expect(performance.now() - startMs, text.slice(0, 8)).toBeLessThan(500)
    }
  })

  test('where no host is allowed, none is', () => {
    expect(contentRefusal('good.com', rules({ linkHosts: [] }))).toBe('link_not_allowed')
  })
})

const ROOM = 'order-1' as RoomId
const T0 = 1_700_000_000_000
const [ann, bob] = ['ann' as UserId, 'bob' as UserId]

class Room {
  state: RoomState | undefined
  nowMs = T0
  readonly limits: RoomLimits
  #nr = 0

  constructor(limits: RoomLimits) {
    this.limits = limits
    this.take({ type: 'orderAccepted', orderId: ROOM, eventId: 'e', occurredAtMs: T0, customerId: ann, vendorId: bob })
  }

  take(input: RoomInput): readonly Entry[] {
    const entries = decide(this.state, input, this.nowMs, this.limits)
    for (const entry of entries) this.state = evolve(this.state, ROOM, entry)
    return entries
  }

  ask(senderId: UserId, body: RoomCommandBody): Entry {
    const clientMessageId = clientMessageIdOf(`${this.#nr++}`, this.nowMs)
    return this.take({ roomId: ROOM, commandId: 'c', senderId, clientMessageId, ...body })[0]!
  }

  say(senderId: UserId, content: string): Entry {
    return this.ask(senderId, { type: 'sendMessage', content, salt: 's' })
  }
}

describe('in the log', () => {
  test('a message and an edit are judged alike, and nothing is left of what was refused', () => {
    const room = new Room({ ...banned, content: { ...banned.content, linkHosts: ['good.com'] } })
    const clientMessageId = clientMessageIdOf('own', T0)
    room.take({ roomId: ROOM, commandId: 'c', senderId: ann, clientMessageId, type: 'sendMessage', content: 'fine', salt: 's' })
    const messageId = messageIdOf(ROOM, ann, clientMessageId)
    const before = room.state
    for (const [content, code] of [['b4dword', 'content_not_allowed'], ['evil.com', 'link_not_allowed']] as const) {
      expect(room.say(ann, content)).toEqual({ type: 'refused', code })
      expect(room.ask(ann, { type: 'editMessage', messageId, content, salt: 's' })).toEqual({ type: 'refused', code })
    }
    expect(room.state).toEqual(before)
    expect(room.ask(ann, { type: 'editMessage', messageId, content: 'good.com', salt: 's' })).toMatchObject({ type: 'messageEdited' })
  })

  test('a reaction and the name of a room have no such words and links either', () => {
    const limits = { ...banned, content: { ...banned.content, linkHosts: [] } }
    const room = new Room(limits)
    const { messageId } = room.say(ann, 'fine') as Entry & { type: 'messageSent' }
    for (const [text, code] of [['b4dword', 'content_not_allowed'], ['evil.com', 'link_not_allowed']] as const) {
      expect(room.ask(bob, { type: 'react', messageId, emoji: text, on: true })).toEqual({ type: 'refused', code })
      const group = (name: string, nr: number): RoomInput => ({ roomId: 'group' as RoomId, commandId: 'c', senderId: ann, clientMessageId: clientMessageIdOf(`${nr}`, T0), type: 'createRoom', kind: 'group', participants: [{ userId: ann, role: 'owner' }], name })
      expect(decide(undefined, group(text, 1), T0, limits)).toEqual([{ type: 'refused', code }])
      const made = decide(undefined, group('ours', 1), T0, limits).reduce<RoomState | undefined>((state, entry) => evolve(state, 'group' as RoomId, entry), undefined)
      const rename = (name: string): RoomInput => ({ roomId: 'group' as RoomId, commandId: 'c', senderId: ann, clientMessageId: clientMessageIdOf('2', T0), type: 'changeRoom', name })
      expect(decide(made, rename(text), T0, limits)).toEqual([{ type: 'refused', code }])
      expect(decide(made, rename(''), T0, limits)).toMatchObject([{ type: 'roomChanged' }])
    }
    expect(room.ask(bob, { type: 'react', messageId, emoji: ':ship:', on: true })).toMatchObject({ type: 'reactionSet' })
  })

  test('the same again and again waits until the window lets it, and no longer', () => {
    const room = new Room(rules({ duplicatesMax: 3, duplicatesWindowMs: 60_000 }))
    for (const [i, content] of ['Buy now!', 'buy  NOW', 'b\u00fcy n\u00f6w…'].entries()) {
      room.nowMs = T0 + i * 10_000
      expect(room.say(ann, content)).toMatchObject({ type: 'messageSent' })
    }
    expect(room.say(ann, 'buy now')).toEqual({ type: 'refused', code: 'duplicate_flood', retryAfterMs: 40_000 })
    expect(room.say(bob, 'buy now')).toMatchObject({ type: 'messageSent' })
    room.nowMs = T0 + 59_999
    expect(room.say(ann, 'buy now')).toEqual({ type: 'refused', code: 'duplicate_flood', retryAfterMs: 1 })
    room.nowMs = T0 + 60_000
    expect(room.say(ann, 'buy now')).toMatchObject({ type: 'messageSent' })
    expect(room.say(ann, 'buy now')).toMatchObject({ code: 'duplicate_flood', retryAfterMs: 10_000 })
    expect(room.say(ann, 'something else')).toMatchObject({ type: 'messageSent' })
    expect(room.say(ann, 'buy now'), 'not in a row').toMatchObject({ type: 'messageSent' })
  })

  test('with a window of 0 anything may be said any number of times', () => {
    const room = new Room({ ...rules({ duplicatesMax: 1, duplicatesWindowMs: 0 }), messagesPerSecondMax: 100 })
    for (let i = 0; i < 40; i++) expect(room.say(ann, 'x')).toMatchObject({ type: 'messageSent' })
  })

  test('what a room remembers of it is bounded: the last of each who spoke within the window', () => {
    let repeats: RoomState['repeats'] = new Map()
    for (let i = 0; i < 100; i++) repeats = withRepeat(repeats, ann, 'x', undefined, T0 + i)
    expect(repeats.get(ann)!.timesMs).toHaveLength(DUPLICATES_MAX_MAX)
    for (let i = 0; i < 500; i++) repeats = withRepeat(repeats, `u${i}` as UserId, 'x', undefined, T0 + i * 60_000)
    expect(repeats.size).toBe(DUPLICATES_WINDOW_MAX_MS / 60_000)
    const closed = evolve({ ...newRoom(ROOM), status: 'open', repeats }, ROOM, { type: 'roomClosed', reason: 'delivered', seq: 1, timestampMs: T0 })
    expect(closed!.repeats.size).toBe(0)
  })

  test('signs alone are told apart, and so is what comes with a text', () => {
    expect(new Set(['👍', '👎', '!!!', '', 'a'].map((text) => repeatDigest(text))).size).toBe(5)
    expect(repeatDigest('a', '{"orderId":"1"}')).not.toBe(repeatDigest('a', '{"orderId":"2"}'))
    expect(floodWaitMs(newRoom(ROOM), ann, 'a', undefined, T0, { ...banned.content, duplicatesMax: 1 })).toBeUndefined()
  })

  test('any text is judged, the same each time, and never throws', () => {
    const hostile = fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), fc.string({ maxLength: 50 }).map((s) => `${s}\ud800${s}`), fc.webUrl(), fc.array(fc.constantFrom('b', 'a', 'd', '.', ' ', '4', '@', '*', '://', 'com', '\u0301', '\u200b'), { maxLength: 40 }).map((a) => a.join('')))
    const limits = { ...banned, content: { ...banned.content, linkHosts: ['good.com'], duplicatesMax: 2 } }
    fc.assert(
      fc.property(fc.array(hostile, { maxLength: 6 }), fc.array(fc.string(), { minLength: 1, maxLength: 5 }), (texts, words) => {
        const room = new Room({ ...limits, content: { ...limits.content, bannedWords: [...limits.content.bannedWords, ...words] } })
        for (const text of texts) {
          const refusal = contentRefusal(text, room.limits)
          expect(contentRefusal(text, room.limits)).toBe(refusal)
          const entry = room.say(ann, text)
          expect(entry).toMatchObject(refusal ? { type: 'refused', code: refusal } : { type: expect.stringMatching(/messageSent|refused/) })
          if (!refusal && entry.type === 'refused') expect(entry.code).toBe('duplicate_flood')
        }
      }),
      { numRuns: 60 },
    )
  })

  test('the words are looked for by a matcher that is made once', () => {
    const reads = { count: 0 }
    const content = { ...banned.content, get bannedWords() {
      reads.count++
      return ['badword']
    } }
    const limits = { ...defaultRoomLimits, content }
    contentRefusal('x', limits)
    const first = reads.count
    for (let i = 0; i < 10; i++) contentRefusal('x', limits)
    // Asked whether there are any; the trie is not made again.
    expect(reads.count - first).toBe(10)
    expect(first).toBe(2)
  })
})
