import gradio as gr

with gr.Blocks() as demo:
    gr.Markdown("# Hello\nReplace app.py, and the page follows.")

if __name__ == "__main__":
    demo.launch(server_port=7860)
