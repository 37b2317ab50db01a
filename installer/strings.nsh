; The installer's words. English is what Windows in any other language gets.

!macro Words NAME EN JA
  LangString ${NAME} ${LANG_ENGLISH} "${EN}"
  LangString ${NAME} ${LANG_JAPANESE} "${JA}"
!macroend

!insertmacro Words WelcomeTitle "Kotaro Bridge ${VERSION}" "Kotaro Bridge（虎太郎ブリッジ）${VERSION}"
!insertmacro Words WelcomeText "Runs AI models wholly on your NVIDIA card, or not at all, and tells you why.$\r$\n$\r$\nIt is installed for you alone; no administrator is needed. If it runs already, it is closed first: a model that serves is stopped in order, and your settings stay.$\r$\n$\r$\nIt needs an NVIDIA card and WSL2. Neither is changed by this setup." "AI モデルを NVIDIA の GPU だけで動かします。GPU に載りきらないときは動かさず、理由をお知らせします。$\r$\n$\r$\nこのユーザーだけにインストールします。管理者の権限は要りません。すでに動いている場合は、モデルを正しい手順で止めてから終了します。設定はそのまま残ります。$\r$\n$\r$\nNVIDIA の GPU と WSL2 が必要です。セットアップがそれらを変更することはありません。"
!insertmacro Words OptionsTitle "Start" "起動"
!insertmacro Words OptionsSubtitle "When Kotaro Bridge starts" "Kotaro Bridge を起動するタイミング"
!insertmacro Words StartAtLogin "&Start when I log in" "サインイン時に起動する(&S)"
!insertmacro Words StartAtLoginWhat "It waits as an icon in the notification area. No model is started by itself. You can change this later in its settings." "通知領域のアイコンとして待機します。モデルが勝手に動き出すことはありません。あとから設定で変更できます。"
!insertmacro Words WhatItTouches "Setup writes to the chosen folder, the Start menu and your own part of the registry. WSL, its distributions, your models and .wslconfig are not touched." "書き込み先は、選んだフォルダー、スタート メニュー、レジストリのユーザー領域だけです。WSL とディストリビューション、モデル、.wslconfig には触れません。"
!insertmacro Words FinishTitle "Kotaro Bridge is installed" "インストールが終わりました"
!insertmacro Words FinishText "Its icon is in the notification area of the taskbar. Windows may put it behind the arrow there: drag it out to keep it in sight." "アイコンはタスクバーの通知領域に表示されます。矢印（^）の中に隠れているときは、ドラッグして外に出せます。"
!insertmacro Words FinishRun "Open Kotaro Bridge now" "Kotaro Bridge を開く"
!insertmacro Words ShortcutWhat "AI models on the GPU, or not at all" "AI モデルを GPU だけで動かします"

!insertmacro Words TooOld "Kotaro Bridge needs 64-bit Windows 10, version 1809 or newer, or Windows 11. Nothing was installed." "Kotaro Bridge には 64 ビット版の Windows 10 バージョン 1809 以降、または Windows 11 が必要です。何もインストールしていません。"
!insertmacro Words OtherSetup "Another setup of Kotaro Bridge is open. Finish it first." "Kotaro Bridge の別のセットアップが開いています。先にそちらを終えてください。"
!insertmacro Words Older "Version $BeforeVersion is installed, which is newer than ${VERSION}. Settings written by the newer one may not be read by the older.$\r$\n$\r$\nInstall the older version?" "新しいバージョン $BeforeVersion がインストールされています（こちらは ${VERSION} です）。新しいバージョンの設定を読めないことがあります。$\r$\n$\r$\n古いバージョンをインストールしますか？"
!insertmacro Words Quitting "Closing Kotaro Bridge and stopping its model" "Kotaro Bridge を終了し、モデルを止めています"
!insertmacro Words StillRunning "Kotaro Bridge could not be closed, so nothing was changed. Quit it from its icon in the notification area, close terminals in which kotaro-bridge runs, then try again." "Kotaro Bridge を終了できなかったため、何も変更していません。通知領域のアイコンから終了し、kotaro-bridge を実行中のターミナルも閉じてから、やり直してください。"
!insertmacro Words InUse "A file of Kotaro Bridge is in use by another program, so nothing was changed. Close programs that may have it open (a terminal or a file window in its folder) and start this again." "Kotaro Bridge のファイルをほかのプログラムが使っているため、何も変更していません。フォルダーを開いているターミナルやエクスプローラーを閉じて、もう一度実行してください。"

!insertmacro Words RemoveTitle "Remove Kotaro Bridge" "Kotaro Bridge の削除"
!insertmacro Words RemoveSubtitle "What goes and what stays" "削除するもの、残すもの"
!insertmacro Words RemoveFrom "Kotaro Bridge is removed from $INSTDIR. If it runs, it is closed first, and its model is stopped." "$INSTDIR から Kotaro Bridge を削除します。動いている場合は、モデルを止めて終了します。"
!insertmacro Words ForgetMe "&Delete my settings as well" "設定も削除する(&D)"
!insertmacro Words ForgetWhat "Settings, your own profiles, what was learned of earlier starts, logs, and the Hugging Face token in the Credential Manager. Without this they wait for the next install." "設定、自作のプロファイル、これまでの起動の記録、ログ、資格情報マネージャーにある Hugging Face のトークンです。選ばなければ、次のインストールのために残ります。"
!insertmacro Words NeverTouched "Never touched: WSL and its distributions, your models, engines such as llama.cpp and vLLM, and .wslconfig." "WSL とディストリビューション、モデル、llama.cpp や vLLM などのエンジン、.wslconfig は削除も変更もしません。"
!insertmacro Words RemoveButton "&Remove" "削除(&R)"
!insertmacro Words NotForgotten "Not all settings could be deleted.$\r$\n$\r$\nRemove Kotaro Bridge anyway? What is left then stays in %LocalAppData%\kotaro-bridge." "一部の設定を削除できませんでした。$\r$\n$\r$\nこのまま Kotaro Bridge を削除しますか？残ったものは %LocalAppData%\kotaro-bridge にあります。"
