package main

var documents = []program{{
	name: "ffmpeg", does: "encode video with sound, cut it; a live stream goes on", debian: []string{"ffmpeg"},
	session: `exec ffmpeg -v error -re -f lavfi -i testsrc2=size=320x240:rate=10 -c:v libx264 -preset ultrafast -g 10 \
		-f hls -hls_time 1 -hls_list_size 3 live.m3u8`,
	ready: `test -s live.m3u8`,
	task: `last() { tail -n 1 live.m3u8; }
		n=$(last); waits eval 'test "$(last)" != "$n"'
		ffmpeg -v error -y -f lavfi -i testsrc2=size=320x240:rate=25 -f lavfi -i sine -t 2 -c:v libx264 -c:a aac a.mp4
		ffmpeg -v error -y -ss 1 -i a.mp4 -frames:v 1 a.png; file a.png
		ffprobe -v error -show_entries stream=codec_name -of csv=p=0 a.mp4 | paste -sd' '`,
	prints: "320 x 240",
}, {
	name: "ImageMagick", does: "draw text, scale, convert, compare", debian: []string{"imagemagick", "fonts-dejavu-core"},
	task: `convert -size 420x420 gradient:red-blue -font DejaVu-Sans -pointsize 40 -annotate +20+100 'forty two' a.png
		convert a.png -resize 10% a.jpg; identify a.jpg
		convert a.png -flop b.png; test "$(compare -metric AE a.png a.png null: 2>&1)" = 0
		if compare -metric AE a.png b.png null: 2>/dev/null; then false; fi`,
	prints: "JPEG 42x42",
}, {
	name: "pandoc", does: "Markdown to Word and HTML, and back", debian: []string{"pandoc"},
	task: `printf '# Answer\n\nIt is *forty two*.\n\n| a | b |\n|---|---|\n| 6 | 7 |\n' >a.md
		pandoc a.md -o a.docx; pandoc a.docx -t html -o a.html; grep '<em>forty two</em>' a.html
		pandoc a.docx -t markdown`,
	prints: "It is *forty two*.",
}, {
	name: "LibreOffice", does: "a text to PDF, a sheet to Excel's format and back",
	debian: []string{"libreoffice-writer-nogui", "libreoffice-calc-nogui", "poppler-utils", "fonts-dejavu-core"},
	task: `echo 'It is forty two' >a.txt; printf 'a,b\n6,=A2*7\n' >a.csv; rm -f a.pdf a.xlsx
		to() { soffice --headless --convert-to "$@" >/dev/null; }
		to pdf a.txt; pdftotext a.pdf - | grep 'forty two'
		to xlsx a.csv; unzip -tq a.xlsx; rm a.csv
		to csv a.xlsx; echo "row $(tail -n 1 a.csv)"`,
	prints: "row 6,42",
}, {
	name: "Tesseract", does: "read the text of a picture", debian: []string{"tesseract-ocr", "imagemagick", "fonts-dejavu-core"},
	task: `convert -size 600x120 xc:white -font DejaVu-Sans -pointsize 60 -annotate +20+80 'forty two' text.png
		tesseract text.png - 2>/dev/null`,
	prints: "forty two",
}, {
	name: "ripgrep and fzf", does: "search a tree of files, with fd", debian: []string{"ripgrep", "fd-find", "fzf"},
	task: `rm -rf tree && mkdir -p tree/a tree/.hidden && for n in $(seq 300); do echo "line $n" >tree/a/$n.txt; done
		echo 'line 42' >tree/.hidden/42.txt
		test "$(fdfind -e txt . tree | wc -l)" = 300
		test "$(fdfind . tree/a | fzf --filter '42.txt$' | head -n 1)" = tree/a/42.txt
		rg --count-matches 'line 4[12]\b' tree | sort`,
	prints: "tree/a/42.txt:1",
}, {
	name: "pandas and Matplotlib", does: "group a table, write Parquet, plot", pypi: []string{"pandas", "matplotlib", "pyarrow"},
	task: `cat >p.py <<-'END'
		import matplotlib; matplotlib.use("Agg")
		import pandas, matplotlib.pyplot as plt
		t = pandas.DataFrame({"k": list("ab") * 21, "v": range(42)})
		t.to_parquet("t.parquet")
		pandas.read_parquet("t.parquet").groupby("k").v.sum().plot.bar()
		plt.savefig("t.png")
		print("rows", len(pandas.read_parquet("t.parquet")))
		END
		/opt/python/bin/python p.py; file t.png | grep 'PNG image'`,
	prints: "rows 42",
}}
