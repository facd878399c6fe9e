import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { headerNames, topics, type TopicSpec } from '#libs/streams/topics.ts'
import { readSubjects, recordNames } from './schema-history.ts'

const text = readFileSync(new URL('../../docs/topics.md', import.meta.url), 'utf8')
const DAY_MS = 24 * 3_600_000

/** What stands under a heading, up to the next one. */
function sectionOf(heading: string): string {
  const from = text.indexOf(`\n### ${heading}\n`)
  if (from < 0) return ''
  const rest = text.slice(from + heading.length + 5)
  return rest.slice(0, rest.search(/\n##+ /) + 1 || undefined)
}

/** The facts of a topic's table. */
function factsOf(name: string): Readonly<Record<string, string>> {
  const rows = sectionOf(name).split('\n').filter((line) => line.startsWith('| '))
  return Object.fromEntries(rows.map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim())).filter((cells) => cells.length === 2) as [string, string][])
}

const keptOf = ({ cleanup, retentionMs }: TopicSpec): string => `${cleanup}, ${retentionMs < 0 ? 'for ever' : `${retentionMs / DAY_MS} days`}`

describe('docs/topics.md', () => {
  test.each(Object.values(topics).map((spec): TopicSpec => spec))('$name: key, schema, writer, how long it is kept, what is promised', (spec) => {
    const facts = factsOf(spec.name)
    expect(Object.keys(facts).filter((name) => /\w/.test(name))).toEqual(['key', 'value', 'headers', 'writer', 'kept', 'guarantee'])
    if (spec.key !== null) expect(facts['key']).toMatch(new RegExp(`^${spec.key}\\b`))
    if (spec.schema !== null) expect(facts['value']).toBe(`\`schemas/${spec.schema}\`, subject \`${spec.name}-value\``)
    expect(facts['writer']).toContain(`\`${spec.writer}\``)
    expect(facts['kept']).toBe(keptOf(spec))
    expect(facts['guarantee']).toMatch(/at least once|exactly once|best effort|transactions/)
  })

  test.each(readSubjects().flatMap(({ topic, newest }) => recordNames(newest).map((name) => ({ topic, name }))))('$topic: $name is in its section', ({ topic, name }) => {
    expect(sectionOf(topic)).toContain(`\`${name}\``)
  })

  test('no record type is told of that no schema has', () => {
    const known = new Set([...readSubjects().flatMap(({ newest }) => recordNames(newest))])
    const told = Object.values(topics).flatMap(({ name }) => [...sectionOf(name).matchAll(/`([A-Z][a-zA-Z]+)`/g)].map((match) => match[1]!))
    expect(told.length).toBeGreaterThan(50)
    expect(told.filter((name) => !known.has(name))).toEqual([])
  })

  test('every header is with a topic', () => {
    const all = Object.values(topics).map(({ name }) => factsOf(name)['headers']).join()
    expect(Object.values(headerNames).filter((name) => !all.includes(`\`${name}\``))).toEqual([])
  })

  test('the fenced logs, and they alone, are read by the rule', () => {
    const fenced = Object.values(topics).filter(({ name }) => factsOf(name)['guarantee']?.includes('under [the rule]')).map(({ name }) => name)
    expect(fenced).toEqual(['room-events', 'user-events'])
    const recipe = readFileSync(new URL('../../docs/recipes/fenced_log.py', import.meta.url), 'utf8')
    expect(recipe).toContain(`FENCED_LOGS = (${fenced.map((name) => `"${name}"`).join(', ')})`)
  })

  test('the events that others ask for are named', () => {
    for (const name of ['MessageSent', 'MessageRead', 'ConversationCreated', 'UserOnline', 'UserOffline']) expect(text).toMatch(new RegExp(`^\\| ${name} \\| \`[a-z-]+\` \\| \`\\w+\``, 'm'))
  })
})
