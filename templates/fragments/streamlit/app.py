import streamlit as st

st.title("Hello")
st.write("Replace app.py, and the page follows.")
