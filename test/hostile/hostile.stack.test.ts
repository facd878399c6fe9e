import { expect, test } from 'vitest'
import { quietProgress } from '../../deploy/local/progress.ts'
import { useStack } from '../support/stack.ts'
import { floods, fuzz, jwt } from './parts.ts'

const run = { quick: true, seed: 1, progress: quietProgress }

/** The short form of `npm run hostile`. */
test.each(Object.entries({ jwt, fuzz, floods }))('%s', { timeout: 120_000 }, async (_, part) => {
  const reports = await part(run, useStack)
  expect(reports.flatMap(({ failed }) => failed)).toEqual([])
})
