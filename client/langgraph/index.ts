/** litetopic for LangGraph.js: `import … from 'litetopic/langgraph'`. See README.md here. */

export { LitetopicSaver, type LitetopicSaverOptions } from './saver.ts'
