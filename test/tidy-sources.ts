import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Node, parseSync, Visitor } from 'oxc-parser'

/** What test/tidy.test.ts knows of each source file: parsed once. */
export const root = fileURLToPath(new URL('../', import.meta.url))

/** Folders that are nobody's writing. */
const NOT_OURS = new Set(['node_modules', '.git', '.local', 'coverage'])
const SOURCE_FOLDERS = ['libs', 'services', 'deploy', 'test']

/** Every file of the working copy below `dir`, as paths from the root. */
export function filesBelow(dir: string): string[] {
  return readdirSync(path.join(root, dir), { withFileTypes: true }).flatMap((entry) => {
    const file = path.posix.join(dir, entry.name)
    if (NOT_OURS.has(entry.name)) return []
    return entry.isDirectory() ? filesBelow(file) : [file]
  })
}

export const textOf = (file: string): string => readFileSync(path.join(root, file), 'utf8')

export type Import = {
  readonly from: string
  /** Of our own files: the path from the root. Of packages: their name. Of Node: `node:…`. */
  readonly target: string
  readonly kind: 'file' | 'package' | 'node'
}

export type Func = { readonly name: string | undefined; readonly line: number; readonly lines: number; readonly isTestCallback: boolean }
/** A place in a file, with what stands there. */
export type Found = { readonly line: number; readonly what: string }

export type Source = {
  readonly file: string
  readonly text: string
  readonly lines: number
  readonly isTest: boolean
  readonly imports: readonly Import[]
  readonly functions: readonly Func[]
  /** `process.env`, in whatever form. */
  readonly environment: readonly Found[]
  /** Reads of the clock or of randomness. */
  readonly clock: readonly Found[]
  /** Names of environment variables that are read, by a config function or directly. */
  readonly variables: readonly string[]
  /** `test.only`, `describe.skip` and the like. */
  readonly focus: readonly Found[]
  /** Names of metrics. */
  readonly metrics: readonly string[]
}

/** Every TypeScript and JavaScript file of ours. */
export function readSources(): Source[] {
  return SOURCE_FOLDERS.flatMap(filesBelow)
    .filter((file) => /\.(ts|mjs)$/.test(file))
    .map((file) => parse(file, textOf(file)))
}

const TEST_FUNCTIONS = new Set(['describe', 'test', 'it', 'beforeAll', 'afterAll', 'beforeEach', 'afterEach'])
const FOCUS = new Set(['only', 'skip', 'todo', 'fails'])

type Call = Extract<Node, { type: 'CallExpression' }>
type Member = Extract<Node, { type: 'MemberExpression' }>

/** The leftmost name of `test`, `test.each(…)`, `describe.only`. */
function baseName(node: Node): string | undefined {
  if (node.type === 'Identifier') return node.name
  if (node.type === 'MemberExpression') return baseName(node.object)
  if (node.type === 'CallExpression') return baseName(node.callee)
  return undefined
}

function propertyName({ property, computed }: Member): string | undefined {
  if (!computed && property.type === 'Identifier') return property.name
  return property.type === 'Literal' && typeof property.value === 'string' ? property.value : undefined
}

const isName = (node: Node | null | undefined, name: string): boolean => node?.type === 'Identifier' && node.name === name

class Reader {
  readonly functions: Func[] = []
  readonly environment: Found[] = []
  readonly clock: Found[] = []
  readonly variables: string[] = []
  readonly focus: Found[] = []
  readonly metrics: string[] = []
  readonly #lineStarts: number[]
  readonly #testCallbacks = new Set<Node>()

  constructor(text: string) {
    this.#lineStarts = [0]
    for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) this.#lineStarts.push(i + 1)
  }

  visitor(): Visitor {
    const func = (node: { start: number; end: number }) => this.#func(node as Node)
    return new Visitor({
      FunctionDeclaration: func,
      FunctionExpression: func,
      ArrowFunctionExpression: func,
      CallExpression: (node) => this.#call(node),
      NewExpression: (node) => {
        if (isName(node.callee, 'Date') && node.arguments.length === 0) this.#note(this.clock, node, 'new Date()')
        if (node.callee.type === 'Identifier' && /^(Counter|Gauge|Histogram)$/.test(node.callee.name)) this.#metric(node.arguments[0])
      },
      MemberExpression: (node) => this.#member(node),
      VariableDeclarator: ({ id, init }) => {
        if (id.type !== 'ObjectPattern' || !isName(init, 'process')) return
        for (const property of id.properties) if (property.type === 'Property' && isName(property.key, 'env')) this.#note(this.environment, id, 'process.env')
      },
    })
  }

  #func(node: Node): void {
    const first = this.line(node.start)
    const name = 'id' in node && node.id?.type === 'Identifier' ? node.id.name : undefined
    this.functions.push({ name, line: first, lines: this.line(node.end) - first + 1, isTestCallback: this.#testCallbacks.has(node) })
  }

  #call(node: Call): void {
    const { callee, arguments: args } = node
    const base = baseName(callee)
    if (base !== undefined && TEST_FUNCTIONS.has(base)) for (const arg of args) this.#testCallbacks.add(arg)
    const [first, second] = args
    if (callee.type !== 'Identifier') return
    if (/^env[A-Z]\w*$|^portFromEnv$/.test(callee.name) && second?.type === 'Literal' && typeof second.value === 'string') {
      this.variables.push(second.value)
      if (callee.name === 'envSecret') this.variables.push(`${second.value}_FILE`)
    }
    // The bridge's own short form.
    if (callee.name === 'counter' && first?.type === 'Literal') this.metrics.push(`sqs_bridge_${first.value}`)
  }

  #metric(options: Node | undefined): void {
    if (options?.type !== 'ObjectExpression') return
    for (const property of options.properties) {
      if (property.type === 'Property' && isName(property.key, 'name') && property.value.type === 'Literal') this.metrics.push(String(property.value.value))
    }
  }

  #member(node: Member): void {
    const name = propertyName(node)
    if (name === undefined) return
    const { object } = node
    if (isName(object, 'process') && name === 'env') this.#note(this.environment, node, 'process.env')
    if (isName(object, 'Date') && name === 'now') this.#note(this.clock, node, 'Date.now')
    if (isName(object, 'Math') && name === 'random') this.#note(this.clock, node, 'Math.random')
    const isEnvironment = isName(object, 'env') || (object.type === 'MemberExpression' && propertyName(object) === 'env')
    if (isEnvironment && /^[A-Z][A-Z0-9_]*$/.test(name)) this.variables.push(name)
    const base = baseName(object)
    if (FOCUS.has(name) && base !== undefined && TEST_FUNCTIONS.has(base)) this.#note(this.focus, node, `${base}.${name}`)
  }

  #note(list: Found[], { start }: { readonly start: number }, what: string): void {
    list.push({ line: this.line(start), what })
  }

  line(offset: number): number {
    let [low, high] = [0, this.#lineStarts.length]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (this.#lineStarts[middle]! <= offset) low = middle
      else high = middle
    }
    return low + 1
  }
}

function parse(file: string, text: string): Source {
  const { program, module, errors } = parseSync(file, text)
  if (errors.length > 0) throw new Error(`${file} cannot be parsed: ${errors[0]!.message}`)
  const reader = new Reader(text)
  reader.visitor().visit(program)
  const requests = [
    ...module.staticImports.map((i) => i.moduleRequest.value),
    ...module.staticExports.flatMap((e) => e.entries.flatMap(({ moduleRequest }) => moduleRequest?.value ?? [])),
    // Of these only the place is told.
    ...module.dynamicImports.flatMap(({ moduleRequest: { start, end } }) => /^['"](.+)['"]$/.exec(text.slice(start, end))?.[1] ?? []),
  ]
  return {
    file,
    text,
    lines: text.split('\n').length - (text.endsWith('\n') ? 1 : 0),
    isTest: file.startsWith('test/') || file.endsWith('.test.ts') || file.includes('/test-support/'),
    imports: [...new Set(requests)].map((from) => resolve(file, from)),
    functions: reader.functions,
    environment: reader.environment,
    clock: reader.clock,
    variables: [...new Set(reader.variables)],
    focus: reader.focus,
    metrics: reader.metrics,
  }
}

function resolve(file: string, from: string): Import {
  if (from.startsWith('.')) return { from, kind: 'file', target: path.posix.join(path.posix.dirname(file), from) }
  if (from.startsWith('#libs/')) return { from, kind: 'file', target: from.slice(1) }
  if (isBuiltin(from)) return { from, kind: 'node', target: from.startsWith('node:') ? from : `node:${from}` }
  return { from, kind: 'package', target: from.split('/').slice(0, from.startsWith('@') ? 2 : 1).join('/') }
}
