import { describe, expect, test } from 'vitest'
import { closeCodes } from '#libs/domain/close-codes.ts'
import { errorCatalogue } from '#libs/domain/errors.ts'
import { topics } from '#libs/streams/topics.ts'
import { stackDefaults } from '../deploy/local/config.ts'
import { filesBelow, type Import, readSources, type Source, textOf } from './tidy-sources.ts'

/** The rules of this repository that a machine can hold: who imports whom, how large things are, and that the documents are true. */
const sources = readSources()
const production = sources.filter(({ isTest }) => !isTest)
const everything = filesBelow('.')
const places = (from: readonly Source[], of: (source: Source) => readonly { line: number; what: string }[]) =>
  from.flatMap((source) => of(source).map(({ line, what }) => `${source.file}:${line} ${what}`))

describe('who imports whom', () => {
  const PURE = ['ulid', 'uuid', '@noble/hashes', 'canonicalize', 'tlds']
  const ADAPTERS: Readonly<Record<string, readonly string[]>> = {
    kafka: ['kafkajs', '@kafkajs/confluent-schema-registry'],
    postgres: ['pg', 'node-pg-migrate', 'graphile-worker'],
    redis: ['ioredis', 'rate-limiter-flexible'],
    sqs: ['@aws-sdk/client-sqs'],
    s3: ['@aws-sdk/client-s3', '@aws-sdk/s3-request-presigner'],
    auth: ['jose'],
    push: ['web-push', 'standardwebhooks', 'cockatiel'],
  }
  type Layer = { readonly files: RegExp; readonly own: RegExp; readonly packages: readonly string[]; readonly node: boolean }
  const layers: readonly Layer[] = [
    { files: /^libs\/domain\//, own: /^libs\/domain\//, packages: PURE, node: false },
    { files: /^libs\/streams\//, own: /^libs\/(domain|streams)\//, packages: [], node: false },
    { files: /^libs\/runtime\//, own: /^libs\/(domain|runtime)\//, packages: ['pino', 'prom-client'], node: true },
    { files: /^libs\/client\//, own: /^libs\/(domain|client)\//, packages: ['uuid'], node: false },
    ...Object.entries(ADAPTERS).map(([name, packages]) => ({
      files: new RegExp(`^libs/${name}/`),
      own: new RegExp(`^libs/(domain|streams|runtime|${name})/`),
      packages,
      node: true,
    })),
    // What is pure in domain is pure here; typebox only describes shapes.
    { files: /^services\/[^/]+\/core\//, own: /^(libs\/(domain|streams)|services\/[^/]+\/core)\//, packages: [...PURE, 'typebox'], node: false },
  ]
  const allowed = (layer: Layer, { kind, target }: Import) =>
    kind === 'node' ? layer.node : kind === 'package' ? layer.packages.includes(target) : layer.own.test(target)
  const imports = (from: readonly Source[], isWrong: (source: Source, i: Import) => boolean) =>
    from.flatMap((source) => source.imports.filter((i) => isWrong(source, i)).map((i) => `${source.file} imports ${i.from}`))

  test('each library and each core imports only what is below it', () => {
    const wrong = layers.flatMap((layer) => imports(production.filter(({ file }) => layer.files.test(file)), (_, i) => !allowed(layer, i)))
    expect(wrong).toEqual([])
  })

  test('each library is one of the layers', () => {
    expect(production.filter(({ file }) => file.startsWith('libs/') && !layers.some(({ files }) => files.test(file))).map(({ file }) => file)).toEqual([])
  })

  test('a client library has one importer', () => {
    const owners = new Map(Object.entries(ADAPTERS).flatMap(([name, packages]) => packages.map((p) => [p, `libs/${name}/`] as const)))
    const isForeign = ({ file }: Source, { target }: Import) => !file.startsWith(owners.get(target) ?? '')
    // The local stack makes databases and keys before there is any service.
    expect(imports(production.filter(({ file }) => !file.startsWith('deploy/local/')), isForeign)).toEqual([])
  })

  test('services meet only through topics and Postgres', () => {
    const ownerOf = (file: string) => /^services\/([^/]+)\//.exec(file)?.[1]
    const isOthers = ({ file }: Source, { target }: Import) => ownerOf(target) !== undefined && ownerOf(target) !== ownerOf(file)
    // A rebuild is the persister's own code, run on the topics once more: whatever it copied could differ.
    const isRebuild = ({ file }: Source, { target }: Import) => file.startsWith('deploy/rebuild/') && ownerOf(target) === 'message-persister'
    expect(imports(production, (source, i) => isOthers(source, i) && !isRebuild(source, i))).toEqual([])
    expect(imports(production.filter(({ file }) => /^(libs|services)\//.test(file)), (_, { target }) => /^deploy\//.test(target))).toEqual([])
  })

  test('main.ts starts its own service and does nothing else', () => {
    const mains = sources.filter(({ file }) => /^services\/[^/]+\/main\.ts$/.test(file))
    expect(mains.length).toBeGreaterThanOrEqual(5)
    expect(mains.filter(({ lines }) => lines > 25).map(({ file }) => file)).toEqual([])
    expect(imports(mains, (_, { from }) => !/^(\.\/|#libs\/runtime\/)/.test(from))).toEqual([])
  })

  test('nothing outside test/ imports test/, and nothing but tests imports a test', () => {
    expect(imports(sources.filter(({ file }) => !file.startsWith('test/')), (_, { target }) => target.startsWith('test/'))).toEqual([])
    expect(imports(production, (_, { target }) => /\.test\.ts$|\/test-support\//.test(target))).toEqual([])
  })

  test('every file that is imported exists', () => {
    const known = new Set(sources.map(({ file }) => file))
    expect(imports(sources, (_, { kind, target }) => kind === 'file' && !known.has(target))).toEqual([])
  })

  test('package.json has what is imported, and nothing else', () => {
    const { dependencies, devDependencies, scripts } = JSON.parse(textOf('package.json')) as Record<string, Record<string, string>>
    const has = new Set([...Object.keys(dependencies!), ...Object.keys(devDependencies!)])
    const all = [...sources.flatMap((s) => s.imports), { kind: 'package', target: 'vitest' }].filter((i) => i.kind === 'package')
    const used = new Set(all.map(({ target }) => target))
    expect([...used].filter((name) => !has.has(name)), 'not in package.json').toEqual([])
    // What a service runs on must be there where only `dependencies` are installed.
    const running = production.filter(({ file }) => /^(libs|services|deploy\/setup)\//.test(file))
    expect(imports(running, (_, { kind, target }) => kind === 'package' && !(target in dependencies!))).toEqual([])
    const isUsed = (name: string) => used.has(name) || used.has(name.replace('@types/', '')) || name === '@types/node' || (name === 'typescript' && Object.values(scripts!).some((s) => s.startsWith('tsc')))
    expect([...has].filter((name) => !isUsed(name)), 'nobody imports it').toEqual([])
  })
})

describe('environment, clock and randomness come in through one door', () => {
  test('process.env is read by main.ts, by the local stack and by tests', () => {
    expect(places(production.filter(({ file }) => !/\/main\.ts$|^deploy\/local\//.test(file)), (s) => s.environment)).toEqual([])
  })

  test('clock and randomness are read in libs/runtime/clock.ts and the ports of the client', () => {
    expect(places(production.filter(({ file }) => !/^libs\/(runtime\/clock|client\/ports)\.ts$|^deploy\//.test(file)), (s) => s.clock)).toEqual([])
  })
})

describe('size', () => {
  const FILE_LINES_MAX = 400
  const FUNCTION_LINES_MAX = 70
  /** Larger than the caps, with the size that they have and the reason. An entry that is not needed any more fails. */
  const exceptions: Readonly<Record<string, { readonly max: number; readonly why: string }>> = {
  }
  const tooLarge = sources.flatMap(({ file, lines, functions }) => [
    ...(lines > FILE_LINES_MAX ? [{ name: file, lines }] : []),
    ...functions.flatMap((f) => (f.lines > FUNCTION_LINES_MAX && !f.isTestCallback ? [{ name: `${file} ${f.name ?? `line ${f.line}`}`, lines: f.lines }] : [])),
  ])

  test('functions have at most 70 lines, files at most 400', () => {
    expect(tooLarge.filter(({ name, lines }) => lines > (exceptions[name]?.max ?? 0))).toEqual([])
  })

  test('every exception is needed', () => {
    expect(Object.keys(exceptions).filter((name) => !tooLarge.some((one) => one.name === name))).toEqual([])
  })
})

describe('nothing is left lying about', () => {
  test('no test is singled out or left out', () => {
    expect(places(sources, (s) => s.focus)).toEqual([])
  })

  test('no unfinished notes, no silenced type errors, no addresses of package registries', () => {
    // In pieces, so that this file does not find itself.
    const marks = new RegExp(['TO' + 'DO', 'FIX' + 'ME', '@ts-' + '(ignore|nocheck|expect-error)'].map((m) => `\\b${m}\\b`).join('|').replaceAll('\\b@', '@'))
    const hosts = new RegExp(['registry\\.npm' + 'js', 'npm' + 'js\\.org', 'repo1?\\.maven' + '\\.', 'pypi' + '\\.org', 'deb\\.debian' + '\\.org'].join('|'))
    const texts = everything.filter((file) => /\.(ts|mjs|json|md|ya?ml|sql|avsc|conf|xml|npmrc)$|Dockerfile|^\.ci\//.test(file))
    const found = texts.flatMap((file) => {
      const lines = textOf(file).split('\n')
      return lines.flatMap((line, i) => (hosts.test(line) || (/\.(ts|mjs)$/.test(file) && marks.test(line)) ? [`${file}:${i + 1}`] : []))
    })
    expect(found).toEqual([])
  })
})

describe('the documents are true', () => {
  const documents = ['README.md', ...filesBelow('docs').filter((file) => file.endsWith('.md'))]
  const texts = new Map(documents.map((file) => [file, textOf(file)]))
  const protocol = texts.get('docs/protocol.md') ?? ''
  const operations = texts.get('docs/operations.md') ?? ''
  /** The cells of the table row whose first cell is this name. */
  const rowsOf = (text: string, name: string) =>
    text.split('\n').filter((line) => line.startsWith(`| \`${name}\` |`)).map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()))
  const spans = (text: string) => [...text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`\n]+)`/g)].map((match) => match[1]!)

  test.each(Object.entries(errorCatalogue))('docs/protocol.md: %s with its status and whether to retry', (code, { httpStatus, retriable }) => {
    const rows = rowsOf(protocol, code).filter((cells) => /^\d{3}$/.test(cells[1] ?? ''))
    expect(rows.map((cells) => cells.slice(1, 3))).toEqual([[String(httpStatus), retriable ? 'yes' : 'no']])
  })

  test.each(Object.entries(closeCodes))('docs/protocol.md: close code of %s', (name, { code, reconnect }) => {
    const rows = protocol.split('\n').filter((line) => line.startsWith(`| ${code} |`)).map((line) => line.split('|').slice(2, -1).map((cell) => cell.trim()))
    expect(rows.map((cells) => cells.slice(0, 2))).toEqual([[`\`${name}\``, reconnect ? 'yes' : 'no']])
  })

  test('docs/protocol.md lists no code that does not exist', () => {
    const rows = [...protocol.matchAll(/^\| `(\w+)` \| \d{3} \|/gm)].map((match) => match[1]!)
    expect(rows.filter((code) => !(code in errorCatalogue))).toEqual([])
    const closes = [...protocol.matchAll(/^\| (4\d{3}) \|/gm)].map((match) => Number(match[1]))
    expect(closes.filter((code) => !Object.values(closeCodes).some((known) => known.code === code))).toEqual([])
  })

  test('docs/operations.md lists every topic and every metric', () => {
    const names = [...Object.values(topics).map(({ name }) => name), ...production.flatMap(({ metrics }) => metrics)]
    expect(names.filter((name) => !operations.includes(`\`${name}\``))).toEqual([])
  })

  const variables = new Set([...production.flatMap((s) => s.variables), ...Object.keys(stackDefaults)])
  /** The machine's own; nobody sets them for us. */
  const machines = ['PATH', 'HOME']
  /** Read by what we use, not by us. */
  const ofOthers = ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_PROFILE', 'AWS_ROLE_ARN', 'AWS_WEB_IDENTITY_TOKEN_FILE']

  test('docs/operations.md lists every environment variable', () => {
    expect([...variables].filter((name) => !machines.includes(name) && !operations.includes(`\`${name}\``)).toSorted()).toEqual([])
  })

  test('no document names an environment variable that nobody reads', () => {
    const prefixes = new Set([...variables].map((name) => name.split('_')[0]))
    const isOurs = (name: string) => /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/.test(name) && prefixes.has(name.split('_')[0])
    const named = [...texts].flatMap(([file, text]) => spans(text).map((span) => ({ file, name: span.split('=')[0]! })))
    const unknown = named.filter(({ name }) => isOurs(name) && !variables.has(name) && !ofOthers.includes(name))
    expect(unknown.map(({ file, name }) => `${file} ${name}`)).toEqual([])
  })

  test('codes, metrics, tables and columns that a document names are somewhere in the sources', () => {
    const words = new Set(
      everything
        .filter((file) => /^(libs|services|deploy|schemas|test)\//.test(file) && !file.endsWith('.md'))
        .flatMap((file) => textOf(file).match(/\b[a-z][a-z0-9]*(_[a-z0-9]+)+\b/g) ?? []),
    )
    for (const { metrics } of production) for (const name of metrics) words.add(name)
    const unknown = [...texts].flatMap(([file, text]) =>
      spans(text).filter((span) => /^[a-z][a-z0-9]*(_[a-z0-9]+)+$/.test(span) && !words.has(span)).map((span) => `${file} ${span}`),
    )
    expect(unknown).toEqual([])
  })

  test('files that a document links or names exist', () => {
    const files = new Set(everything)
    const folders = new Set(everything.flatMap((file) => file.split('/').map((_, i, parts) => parts.slice(0, i).join('/'))))
    const missing = [...texts].flatMap(([file, text]) => {
      const linked = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)].map((match) => new URL(match[1]!, `file:///${file}`).pathname.slice(1))
      const named = spans(text).filter((span) => /^(libs|services|deploy|schemas|test|docs)\/[\w./-]*$/.test(span))
      return [...linked, ...named].map((name) => name.replace(/\/$/, '')).filter((name) => !files.has(name) && !folders.has(name)).map((name) => `${file}: ${name}`)
    })
    expect(missing).toEqual([])
  })

  test('every invariant of docs/architecture.md names a test that exists', () => {
    const text = texts.get('docs/architecture.md')
    expect(text, 'docs/architecture.md is missing').toBeDefined()
    const rows = invariantRows(text!)
    expect(rows.length, 'docs/architecture.md has no table whose last column is the test').toBeGreaterThan(0)
    expect(rows.filter((cells) => testsNamedIn(cells.at(-1)!).length === 0).map((cells) => cells[0])).toEqual([])
  })

  test('every test that a document names exists', () => {
    const named = documents.filter((file) => file !== 'README.md').flatMap((file) => testsNamedIn(texts.get(file)!).map((one) => ({ in: file, ...one })))
    const inFile = new Map(sources.filter(({ isTest }) => isTest).map(({ file, text }) => [file, text.replaceAll('\\', '')]))
    const wrong = named.flatMap(({ in: where, file, names }) => {
      const text = inFile.get(file)
      if (text === undefined) return [`${where}: ${file} does not exist`]
      return names.filter((name) => !text.includes(name)).map((name) => `${where}: ${file} has no test "${name}"`)
    })
    expect(wrong).toEqual([])
  })
})

/** The rows of all tables whose last column is headed "test". */
function invariantRows(text: string): string[][] {
  const rows: string[][] = []
  let inTable = false
  for (const line of text.split('\n')) {
    const cells = line.startsWith('|') ? line.split('|').slice(1, -1).map((cell) => cell.trim()) : []
    if (cells.length === 0) inTable = false
    else if (inTable && !/^:?-+:?$/.test(cells[0]!)) rows.push(cells)
    else if (/\b(test|tests|held by)\b/i.test(cells.at(-1)!)) inTable = true
  }
  return rows
}

/** `path › "test name"`, in one pair of backticks or with the name behind them; several names may follow one path. */
function testsNamedIn(text: string): { file: string; names: string[] }[] {
  return [...text.matchAll(/([\w./-]+\.test\.ts)`?((?:\s*(?:›|,|and|;)?\s*`?"[^"\n]+"`?)*)/g)].map((match) => ({
    file: match[1]!,
    names: [...match[2]!.matchAll(/"([^"\n]+)"/g)].map((name) => name[1]!),
  }))
}
