/** The tidy rule of the folders that connect litetopic with frameworks for agents: the core knows none of them. */

import type { Rule } from './rules.ts'

/** Where each optional peer dependency may be imported; many files may. */
export const PEERS: Readonly<Record<string, readonly string[]>> = {
  '@a2a-js/sdk': ['client/a2a'],
  '@ag-ui/core': ['client/ag-ui'],
  '@langchain/core': ['client/langgraph'],
  '@langchain/langgraph': ['client/langgraph'],
  '@langchain/langgraph-checkpoint': ['client/langgraph'],
  '@modelcontextprotocol/sdk': ['client/mcp'],
  '@openai/agents-core': ['client/openai-agents'],
  ai: ['client/ai-sdk'],
  'resumable-stream': ['client/resumable-stream'],
}

const FOLDERS = [...new Set(Object.values(PEERS).flat())]
const integration = (path: string): string | undefined => FOLDERS.find((folder) => path.startsWith(`${folder}/`))

/** Frameworks are imported in their own folder only, which uses the public client; nothing of the product needs such a folder. */
export const integrationsApart: Rule = (sources) =>
  sources.flatMap((source) => {
    if (/^(test|bench)\//.test(source.path)) return []
    const own = integration(source.path)
    return source.imports.flatMap(({ specifier, target, line }) => {
      const place = `${source.path}:${line} imports ${target ?? specifier}`
      const peer = Object.keys(PEERS).find((name) => specifier === name || specifier.startsWith(`${name}/`))
      if (peer !== undefined && !PEERS[peer]?.includes(own ?? '')) {
        return [`${place}: only ${PEERS[peer]?.join(' and ')} may; take what is needed as a parameter`]
      }
      if (target === undefined || integration(target) === own) return []
      if (own === undefined) return [`${place}: the core knows no framework; turn the arrow`]
      if (target === 'client/index.ts') return []
      return [`${place}: import from client/index.ts, and export there what others may use`]
    })
  })
