import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isRoomId, type RoomId } from '#libs/domain/ids.ts'
import { decodeCursor, encodeCursor, roomsPage } from './cursor.ts'

const roomId = fc.stringMatching(/^[A-Za-z0-9._:-]{1,128}$/).filter(isRoomId)
const openedAtUs = fc.integer({ min: 0, max: 9_999_999_999_999_999 }).filter(Number.isSafeInteger)

describe('a cursor of rooms', () => {
  test('comes back as it went out', () => {
    fc.assert(
      fc.property(fc.record({ openedAtUs, roomId }), (cursor) => {
        const text = encodeCursor(cursor)
        expect(text).toMatch(/^[A-Za-z0-9_-]+$/)
        expect(text.length).toBeLessThanOrEqual(256)
        expect(decodeCursor(text)).toEqual(cursor)
      }),
    )
  })

  test('that we did not make is refused, whatever it is', () => {
    const of = (text: string) => Buffer.from(text).toString('base64url')
    for (const text of ['', 'x', of('1'), of('1 a b'), of(' a'), of('1 '), of('1.5 a'), of('99999999999999999 a'), of("1 a'b"), of('NaN a')]) {
      expect(() => decodeCursor(text), text).toThrow(/cursor/)
    }
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          decodeCursor(text)
        } catch (err) {
          expect(err).toMatchObject({ code: 'invalid_request' })
        }
      }),
    )
  })

  test('is there while there is more', () => {
    const rooms = [3, 2, 1].map((n) => ({ openedAtUs: n, roomId: `r${n}` as RoomId }))
    expect(roomsPage(rooms, 3)).toEqual({ rooms, nextCursor: null })
    expect(roomsPage(rooms, 2)).toEqual({ rooms: rooms.slice(0, 2), nextCursor: encodeCursor(rooms[1]!) })
    expect(roomsPage([], 2)).toEqual({ rooms: [], nextCursor: null })
  })
})
