package templates

import "embed"

// The templates of the Fragments app: a model writes code into one file, and a development
// server shows it.

//go:embed fragments
var fragmentsFiles embed.FS

var fragments = []Template{
	{
		Name: "nextjs-developer", About: "Next.js on port 3000, pages/index.tsx, for Fragments",
		CPUCount: 4, MemoryMB: 4096, Image: baseImage,
		Steps: []Step{
			workdir("/home/user/nextjs-app"),
			run(`npx -y create-next-app@14.2.33 . --ts --tailwind --no-eslint --import-alias "@/*" --use-npm --no-app --no-src-dir`),
			// The components come from a site of their own, which not every network can
			// reach.
			run("{ npx -y shadcn@2.1.7 init -d",
				"npx -y shadcn@2.1.7 add --all; } || echo 'WARNING: ui.shadcn.com was not reached: the template has no shadcn components'"),
			env("NEXT_TELEMETRY_DISABLED", "1"),
			run("mv /home/user/nextjs-app/* /home/user/nextjs-app/.[!.]* /home/user/",
				"rm -rf /home/user/nextjs-app"),
			workdir("/home/user"),
		},
		Start: "npx next --turbo", Ready: waitForURL("http://localhost:3000"),
	},
	{
		Name: "vue-developer", About: "Nuxt on port 3000, app/app.vue, for Fragments",
		CPUCount: 4, MemoryMB: 4096, Image: baseImage, Files: below(fragmentsFiles, "fragments/vue"),
		Steps: []Step{
			// This is included because nuxi init would fetch it from a place that is no
			// package registry.
			workdir("/home/user"),
			copyFiles(".", "/home/user"),
			run("npm install --no-fund --no-audit nuxt@4 vue vue-router @nuxtjs/tailwindcss@6 tailwindcss@3"),
			env("NUXT_TELEMETRY_DISABLED", "1"),
		},
		Start: "npm run dev", Ready: waitForURL("http://localhost:3000"),
	},
	pythonFragment("streamlit", "streamlit run app.py --server.headless true",
		"http://localhost:8501", "8501"),
	pythonFragment("gradio", "gradio app.py", "http://localhost:7860", "7860"),
}

// pythonFragment is the template for a Python framework, with the packages that its
// programs expect.
func pythonFragment(name, start, url, port string) Template {
	return Template{
		Name: name + "-developer", About: name + " on port " + port + ", app.py, for Fragments",
		CPUCount: 4, MemoryMB: 4096, Image: baseImage, Files: below(fragmentsFiles, "fragments/"+name),
		Steps: []Step{
			{"RUN", []string{"pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore " + name +
				" pandas numpy matplotlib requests seaborn plotly", "root"}},
			workdir("/home/user"),
			copyFiles("app.py", "/home/user/app.py"),
		},
		Start: start, Ready: waitForURL(url),
	}
}
