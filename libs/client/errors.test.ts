import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorCatalogue } from '#libs/domain/errors.ts'
import { ChatClientError, clientErrors } from './errors.ts'

const readme = readFileSync(new URL('README.md', import.meta.url), 'utf8')

test.each(Object.keys(clientErrors))('%s is in the README, and no code of the server', (code) => {
  expect(readme).toContain(`\`${code}\``)
  expect(Object.keys(errorCatalogue)).not.toContain(code)
})

test('retriable is what the server said, else what the catalogues say, else no', () => {
  expect(new ChatClientError('unavailable').retriable).toBe(true)
  expect(new ChatClientError('unavailable', { retriable: false }).retriable).toBe(false)
  expect(new ChatClientError('of_a_newer_server').retriable).toBe(false)
  expect(new ChatClientError('of_a_newer_server', { retriable: true }).retriable).toBe(true)
})
