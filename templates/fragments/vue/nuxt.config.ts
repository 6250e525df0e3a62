// The development server is reached by other names than localhost, through a proxy
// that may end TLS.
export default defineNuxtConfig({
  compatibilityDate: '2025-05-15',
  devtools: { enabled: false },
  modules: ['@nuxtjs/tailwindcss'],
  vite: { server: { allowedHosts: true } },
})
